"""Tables, labelled pairs and catalogues as people have them.

Rooms that it may import: none.
"""

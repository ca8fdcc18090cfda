"""Tables, labelled pairs and catalogues as people have them.

May import: nothing but the top level.
"""

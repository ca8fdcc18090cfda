"""The artifact that is served: its manifest, identity, golden answers, settings, and the folder's state.

Rooms that it may import: data, attributes, encoder, index, lexical.
"""

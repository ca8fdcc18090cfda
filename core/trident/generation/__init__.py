"""The artifact that is served: its manifest, identity, golden answers, settings, and the folder's state.

May import: data, encoder, index.
"""

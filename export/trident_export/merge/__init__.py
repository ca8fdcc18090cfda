"""The merged encoder, as transformers and sentence-transformers load it.

Rooms that it may import: engine, graphs.
"""

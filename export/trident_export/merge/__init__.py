"""The merged encoder, as transformers and sentence-transformers load it.

May import: graphs and the ground.
"""

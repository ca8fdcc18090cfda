"""Embeddings to nearest rows: HNSW, flat search, exact search, and their files.

Rooms that it may import: data, attributes, encoder.
"""

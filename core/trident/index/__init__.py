"""Embeddings to nearest rows: HNSW, flat search, exact search, and their files.

May import: data, encoder.
"""

"""Texts to embeddings: the base model, the text contract, tokens, the graph, the kernels.

Rooms that it may import: data, attributes.
"""

"""Texts to embeddings: the base model, the text contract, tokens, the graph, the kernels.

May import: data.
"""

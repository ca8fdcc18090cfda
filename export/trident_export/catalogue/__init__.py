"""The catalogue's embeddings, made here or by several processes.

Rooms that it may import: engine, graphs, merge.
"""

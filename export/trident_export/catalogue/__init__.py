"""The catalogue's embeddings, made here or by several processes.

May import: merge, graphs and the ground.
"""

"""The log of a live catalogue: what is durable, whose numbers they are, who needs it; knows no product.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster.
"""

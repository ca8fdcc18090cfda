"""What orders products after the first search, and what their scores mean: arrays in, arrays out; knows no request.

Rooms that it may import: data, attributes, encoder, index, generation, cluster.
"""

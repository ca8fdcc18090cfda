"""What the served models count, check and log while they answer.

Rooms that it may import: data, attributes, encoder, index, generation, cluster, ranking, journal, live, search.
"""

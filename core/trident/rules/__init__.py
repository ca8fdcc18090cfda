"""Merchandisers' rules: the file, what contradicts itself in it, what is published, what it does to one query.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live.
"""

"""A new generation of a generation and the log of its live catalogue: the same encoder, an index made anew.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, journal, live, search, watch,
quality, probe, server, promotion.
"""

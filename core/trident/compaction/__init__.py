"""A new generation of a generation and the log of its live catalogue: the same encoder, an index made anew.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, cluster, ranking, journal, live, rules, search, watch, quality, probe, server, promotion.
"""  # noqa: E501 - the list is read by a test

"""A new generation of a generation and the log of its live catalogue: the same encoder, an index made anew.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality, comparison, probe, processes, server, promotion.
"""  # noqa: E501 - the list is read by a test

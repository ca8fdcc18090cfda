"""The processes of a server: which there are, which died, whether a starting one comes any further.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality, comparison, probe.
"""  # noqa: E501 - the list is read by a test

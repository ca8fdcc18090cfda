"""Two generations asked the same queries: how alike their answers are, for people to read.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality.
"""  # noqa: E501 - the list is read by a test

"""What the served models count, check and log while they answer.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search.
"""  # noqa: E501 - the list is read by a test

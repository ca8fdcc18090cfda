"""Changes the generation that serves: promotion, rollback, retention.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality, comparison, probe, processes, server.
"""  # noqa: E501 - the list is read by a test

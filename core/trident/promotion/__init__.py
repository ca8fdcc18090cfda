"""Changes the generation that serves: promotion, rollback, retention.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, cluster, ranking, journal, live, rules, search, watch, quality, probe, server.
"""  # noqa: E501 - the list is read by a test

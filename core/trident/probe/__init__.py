"""Asks a running server: control, state, golden answers, health.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality.
"""  # noqa: E501 - the list is read by a test

"""Starts a tritonserver over a generation and keeps it alive.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, cluster, ranking, journal, live, rules, search, watch, quality, probe.
"""  # noqa: E501 - the list is read by a test

"""Starts a tritonserver over a generation and keeps it alive.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality, comparison, probe, processes.
"""  # noqa: E501 - the list is read by a test

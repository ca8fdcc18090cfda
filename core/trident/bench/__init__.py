"""Measures a server: load by perf_analyzer, figures, budgets, tuning.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, cluster, journal, live, rules, retrieval, search, watch, quality, comparison, probe, processes, server, promotion, compaction.
"""  # noqa: E501 - the list is read by a test

"""Measures a server: load by perf_analyzer, figures, budgets, tuning.

Rooms that it may import: data, attributes, encoder, index, lexical, generation, ranking, journal, live, search, watch,
quality, probe, server, promotion, compaction.
"""

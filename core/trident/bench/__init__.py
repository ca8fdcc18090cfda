"""Measures a server: load by perf_analyzer, figures, budgets, tuning.

Rooms that it may import: data, encoder, index, generation, live, search, watch, quality, probe, server, promotion.
"""

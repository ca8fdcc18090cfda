"""Measures a server: load by perf_analyzer, figures, budgets, tuning.

Rooms that it may import: data, attributes, encoder, index, generation, search, watch, quality,
probe, server, promotion.
"""

"""Measures a served generation with perf_analyzer, beside the same parts in one process."""

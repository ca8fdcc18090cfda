"""Starts a tritonserver over a generation and keeps it alive.

Rooms that it may import: data, attributes, encoder, index, generation, ranking, journal, live, search, watch, quality,
probe.
"""

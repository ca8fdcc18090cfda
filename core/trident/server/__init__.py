"""Starts a tritonserver over a generation and keeps it alive.

Rooms that it may import: data, encoder, index, generation, live, search, watch, quality, probe.
"""

"""Starts a tritonserver over a generation and keeps it alive.

Rooms that it may import: data, attributes, encoder, index, generation, search, watch, quality, probe.
"""

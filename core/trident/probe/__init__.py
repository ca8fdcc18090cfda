"""Asks a running server: control, state, golden answers, health.

Rooms that it may import: data, attributes, encoder, index, generation, cluster, journal, live, search, watch, quality.
"""

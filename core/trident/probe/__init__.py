"""Asks a running server: control, state, golden answers, health.

May import: data to search, watch, quality.
"""

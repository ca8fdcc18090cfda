"""Starts a tritonserver over a generation and keeps it alive.

May import: data to probe.
"""

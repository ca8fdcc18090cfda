"""Proofs: parity with PyTorch, precisions, golden answers, quality.

Rooms that it may import: engine, graphs, merge, catalogue.
"""

"""Proofs: parity with PyTorch, precisions, golden answers.

Rooms that it may import: engine, graphs, merge, catalogue.
"""

"""Proofs: parity with PyTorch, precisions, golden answers, quality.

May import: catalogue to graphs and the ground.
"""

"""The training loop: batches, steps, checkpoints, selection, memory.

Rooms that it may import: data, losses, model, judge.
"""

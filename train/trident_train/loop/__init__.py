"""The training loop: batches, steps, checkpoints, selection, memory.

May import: data, losses, model, judge and the ground.
"""

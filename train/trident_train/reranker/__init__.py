"""The second stage in training: a cross-encoder, the first stage's candidates, its training and its judging.

Rooms that it may import: data, losses, model, judge, loop.
"""

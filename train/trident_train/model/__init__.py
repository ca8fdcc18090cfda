"""The models that are trained or stand beside them: the encoder, arms, mined negatives, hubs.

Rooms that it may import: data, losses.
"""

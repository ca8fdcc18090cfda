"""The models that are trained or stand beside them: the encoder, arms, mined negatives, hubs.

May import: data and the ground.
"""

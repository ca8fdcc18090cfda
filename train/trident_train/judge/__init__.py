"""Ranks and classifies with an encoder and says how well, query by query.

May import: data, model and the ground.
"""

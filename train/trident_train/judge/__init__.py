"""Ranks and classifies with an encoder and says how well, query by query.

Rooms that it may import: data, losses, model.
"""

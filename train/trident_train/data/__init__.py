"""Labelled pairs of a recipe: sources, splits, audit, queries made of titles, the bundled sample.

Rooms that it may import: none.
"""

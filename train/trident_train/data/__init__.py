"""Labelled pairs of a recipe: sources, splits, audit, queries made of titles, the bundled sample.

May import: the ground (recipe, processes).
"""

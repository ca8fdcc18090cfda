"""Attributes of products: their types, how they are kept in a generation, the filter language, facets, order.

Rooms that it may import: data.
"""

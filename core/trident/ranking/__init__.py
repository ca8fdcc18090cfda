"""Rows of several legs to one order: fusion, its settings. Arrays in, arrays out; it knows no request.

Rooms that it may import: data, attributes, encoder, index, lexical, generation.
"""

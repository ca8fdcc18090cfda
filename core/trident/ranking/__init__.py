"""Orders of rows and what their scores mean: fusion, the second stage, calibration. Arrays in, arrays out; no request.

Rooms that it may import: data, attributes, encoder, index, lexical, generation.
"""

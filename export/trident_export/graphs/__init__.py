"""ONNX graphs of the encoder, one conversion a file.

Rooms that it may import: engine.
"""

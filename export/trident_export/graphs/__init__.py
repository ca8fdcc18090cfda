"""ONNX graphs of the encoder, one conversion a file.

May import: engine and the ground.
"""

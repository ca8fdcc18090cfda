"""The names of a generation's graphs by precision."""

from __future__ import annotations

ONNX_FILE = "model.onnx"
GRAPH_FILES = {"fp32": ONNX_FILE, "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
UNPADDED_FILES = {"fp32": "model.unpadded.onnx", "int8": "model.int8.unpadded.onnx"}  # what a CPU runs instead
CODES_FILE = "model.int8.safetensors"  # the integers of the 8-bit graph, as the kernels read them
INT8_FILES = frozenset({GRAPH_FILES["int8"], UNPADDED_FILES["int8"]})
FP32_FILES = frozenset({GRAPH_FILES["fp32"], UNPADDED_FILES["fp32"]})

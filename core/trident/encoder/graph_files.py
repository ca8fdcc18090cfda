"""The names of a generation's graphs by precision, and of the weights that do not fit into one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trident.encoder.base_model import file_sha256

ONNX_FILE = "model.onnx"
GRAPH_FILES = {"fp32": ONNX_FILE, "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
UNPADDED_FILES = {"fp32": "model.unpadded.onnx", "int8": "model.int8.unpadded.onnx"}  # what a CPU runs instead
CODES_FILE = "model.int8.safetensors"  # the integers of the 8-bit graph, as the kernels read them
INT8_FILES = frozenset({GRAPH_FILES["int8"], UNPADDED_FILES["int8"]})
FP32_FILES = frozenset({GRAPH_FILES["fp32"], UNPADDED_FILES["fp32"]})


def data_file(graph: Path) -> Path:
    """Return where the weights of a graph are that is larger than 2 GiB; of another there is no such file."""
    return graph.with_name(f"{graph.name}.data")


def graph_sha256(graph: Path) -> str:
    """Return the SHA-256 of a graph, hexadecimal; weights beside it are part of it."""
    paths = [path for path in (graph, data_file(graph)) if path.is_file()]
    hashes = [file_sha256(path) for path in paths or [graph]]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()

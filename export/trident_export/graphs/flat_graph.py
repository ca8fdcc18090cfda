"""Writes the files of ``trident.index.flat_search``: vectors as 8-bit integers in an ONNX graph, and their errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trident.config import to_table
from trident.encoder.base_model import file_sha256
from trident.index.files import FLAT_GRAPH_FILE, FLAT_RECORD_FILE, INDEX_FILE
from trident.index.flat_search import (
    CODE_LEVELS,
    FLAT_FORMAT,
    LABELS,
    QUERY,
    QUERY_ZERO,
    ROUNDED,
    TOP,
    FlatRecord,
)
from trident_export.graphs.onnx_graph import OPSET

IR_VERSION = 10  # the newest that ONNX Runtime 1.20 reads


def write_flat(folder: Path, vectors: NDArray[np.float32]) -> None:
    """Write ``flat.onnx`` and ``flat.json`` beside the index of the same vectors.

    Args:
        folder: Holds the index.
        vectors: (U, D) float32, its different vectors, by label.
    """
    scale = float(np.abs(vectors).max()) / CODE_LEVELS
    codes = np.rint(vectors / scale).astype(np.int8)  # (U, D)
    onnx.save(_graph(codes), str(folder / FLAT_GRAPH_FILE))
    exact = vectors.astype(np.float64)
    record = FlatRecord(
        format=FLAT_FORMAT,
        graph_bytes=(folder / FLAT_GRAPH_FILE).stat().st_size,
        graph_sha256=file_sha256(folder / FLAT_GRAPH_FILE),
        index_sha256=file_sha256(folder / INDEX_FILE),
        dimension=vectors.shape[1],
        count=len(vectors),
        scale=scale,
        largest_norm=float(np.linalg.norm(exact, axis=1).max()),
        largest_residual=float(np.linalg.norm(exact - scale * codes, axis=1).max()),
    )
    text = json.dumps(to_table(record), indent=2, sort_keys=True) + "\n"
    (folder / FLAT_RECORD_FILE).write_text(text, encoding="utf-8")


def _graph(codes: NDArray[np.int8]) -> onnx.ModelProto:
    """Return the graph that sums the integers' products (B, U) and keeps the largest, best first."""
    dimension = codes.shape[1]
    nodes = [
        helper.make_node("MatMulInteger", [QUERY, "codes", "zero"], ["sums"]),
        helper.make_node("TopK", ["sums", TOP], [ROUNDED, LABELS], axis=-1, largest=1, sorted=1),
    ]
    graph = helper.make_graph(
        nodes,
        "flat_search",
        [
            helper.make_tensor_value_info(QUERY, TensorProto.UINT8, ["batch", dimension]),
            helper.make_tensor_value_info(TOP, TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info(ROUNDED, TensorProto.INT32, ["batch", "found"]),
            helper.make_tensor_value_info(LABELS, TensorProto.INT64, ["batch", "found"]),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(codes.T), "codes"),
            numpy_helper.from_array(np.array(QUERY_ZERO, dtype=np.uint8), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model

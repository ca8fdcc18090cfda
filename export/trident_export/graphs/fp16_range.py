"""Whether float16 holds what a graph computes.

A CPU cannot say so by running the float16 graph: ONNX Runtime computes it in float32 there and never rounds what stands
between two operators, so that a graph which overflows on a GPU gives perfect answers (docs/log/export.md, 2026-11-24).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from trident.encoder.onnx_session import CPU
from trident.errors import ExportError
from trident_export.graphs.feeds import Batch, feeds_of

LARGEST = float(np.finfo(np.float16).max)  # 65,504
MASKED = -1e30  # below: what attention adds where nothing is; it is cut off at the conversion, as it may be


def check_range(source: Path, half: Path, batches: Iterable[Batch], *, threads: int = 1) -> None:
    """Hold every value that the float16 graph keeps in float16 against the largest that there is.

    Args:
        source: The float32 graph, whose values are looked at.
        half: The float16 graph made of it.
        batches: Of real texts, and of what is no text.
        threads: Of ONNX Runtime.

    Raises:
        ExportError: Naming the value that is too large.
    """
    names = _kept_in_half(onnx.load(str(source)), onnx.load(str(half)))
    session = _session(source, names, threads)
    largest: NDArray[np.float64] = np.zeros(len(names))
    for batch in batches:
        found = session.run(None, feeds_of(batch))
        largest = np.maximum(largest, np.nan_to_num(np.array(found, dtype=np.float64), nan=np.inf))
    worst = int(largest.argmax())
    if largest[worst] > LARGEST:
        raise ExportError(f"float16 holds values up to {LARGEST:,.0f}, got {largest[worst]:,.0f} as {names[worst]}")


def _kept_in_half(source: onnx.ModelProto, half: onnx.ModelProto) -> list[str]:
    """Return the names of what nodes give in float16 in one graph, and under the same name in the other."""
    inferred = onnx.shape_inference.infer_shapes(half)
    kept = {
        value.name for value in inferred.graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    return [name for node in source.graph.node for name in node.output if name in kept]


def _session(source: Path, names: Sequence[str], threads: int) -> ort.InferenceSession:
    """Return a session that gives the largest absolute value, masked ones left out, for each of the names."""
    model = onnx.load(str(source))
    graph = model.graph
    del graph.output[:]
    graph.initializer.append(helper.make_tensor("range_masked", TensorProto.FLOAT, [], [MASKED]))
    graph.initializer.append(helper.make_tensor("range_zero", TensorProto.FLOAT, [], [0.0]))
    for number, name in enumerate(names):
        is_masked, kept, absolute, largest = (f"range_{part}_{number}" for part in ("is", "kept", "abs", "max"))
        graph.node.extend(
            [
                helper.make_node("Less", [name, "range_masked"], [is_masked]),
                helper.make_node("Where", [is_masked, "range_zero", name], [kept]),
                helper.make_node("Abs", [kept], [absolute]),
                helper.make_node("ReduceMax", [absolute], [largest], keepdims=0),
            ]
        )
        graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), sess_options=options, providers=[CPU])

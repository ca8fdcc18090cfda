"""Reads and writes graphs of any size: a file of protobuf holds 2 GiB, larger weights lie in a file beside it.

Graphs made of such a one without touching its weights share that file: names of weights, and places in it, stay.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from trident.encoder.graph_files import data_file
from trident.errors import ExportError, first_line

LARGEST_BYTES = 2**31 - 2**26  # of weights inside the graph; the rest of it has room in what is left
SMALLEST_BYTES = 1024  # of a weight outside; what rewriting a graph looks at is smaller


def read_graph(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Return the graph of a file.

    Args:
        path: An ``.onnx`` file.
        weights: Whether weights that lie outside are read too; else they are names with a place.
    """
    return onnx.load(str(path), load_external_data=weights)


def is_split(model: onnx.ModelProto) -> bool:
    """Return whether weights of a graph lie outside, unread."""
    return any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer)


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Check a graph, its types and shapes, and write it; weights that are too large go into the file beside it.

    Args:
        model: The graph; of one that is too large the weights are gone from it afterwards.
        path: An ``.onnx`` file; weights that are outside already must lie in its folder.

    Raises:
        ExportError: In the ONNX checker's words.
    """
    split = is_split(model)
    if not split and sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= LARGEST_BYTES:
        check_graph(model)
        onnx.save(model, str(path))
        return
    if split:
        onnx.save(model, str(path))
    else:
        data = data_file(path)
        data.unlink(missing_ok=True)  # onnx appends to what is there
        onnx.save(model, str(path), save_as_external_data=True, location=data.name, size_threshold=SMALLEST_BYTES)
    check_graph(path)


def check_graph(graph: onnx.ModelProto | Path) -> None:
    """Check a graph, its types and shapes; one whose weights lie outside is checked as a file.

    Raises:
        ExportError: In the ONNX checker's words.
    """
    try:
        onnx.checker.check_model(str(graph) if isinstance(graph, Path) else graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refused the encoder: {first_line(error)}") from error

"""Reads and writes graphs of any size: a file of protobuf holds 2 GiB, larger weights lie in a file beside it.

Graphs made of such a one without touching its weights share that file: names of weights, and places in it, stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import onnx
from onnx.external_data_helper import uses_external_data

from trident.encoder.graph_files import data_file
from trident.errors import ExportError, first_line

LARGEST_BYTES = 2**31 - 2**26  # of weights inside the graph; the rest of it has room in what is left
SMALLEST_BYTES = 1024  # of a weight outside; what rewriting a graph looks at is smaller
ALIGNMENT_BYTES = 4096  # of a weight in the file: a page, so that it can be mapped
BLOCK_BYTES = 2**24  # copied at a time


def read_graph(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Return the graph of a file.

    Args:
        path: An ``.onnx`` file.
        weights: Whether weights that lie outside are read too; else they are names with a place.
    """
    return onnx.load(str(path), load_external_data=weights)


def is_split(model: onnx.ModelProto) -> bool:
    """Return whether weights of a graph lie outside, unread."""
    return any(uses_external_data(tensor) for tensor in model.graph.initializer)


def write_graph(model: onnx.ModelProto, path: Path, *, weights_in: Path | None = None) -> None:
    """Check a graph, its types and shapes, and write it.

    Args:
        model: The graph; weights that lie outside must be in the folder of ``path``, but for the next argument.
        path: An ``.onnx`` file.
        weights_in: The folder of the weights outside, which go, with what else is large, into the file beside ``path``.

    Raises:
        ExportError: In the ONNX checker's words.
    """
    if weights_in is not None:
        _move_weights(model, data_file(path), weights_in)
    if is_split(model):
        onnx.save(model, str(path))
        check_graph(path)
    else:
        check_graph(model)
        onnx.save(model, str(path))


def _move_weights(model: onnx.ModelProto, data: Path, folder: Path) -> None:
    """Write large weights into one file, in the order of the graph; no library does so for one of more than 2 GiB."""
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            offset = -(-file.tell() // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
            if uses_external_data(tensor):
                place = {entry.key: entry.value for entry in tensor.external_data}
                file.seek(offset)
                with (folder / place["location"]).open("rb") as source:
                    source.seek(int(place.get("offset", 0)))
                    _copy(source, file, int(place["length"]))
            elif len(tensor.raw_data) >= SMALLEST_BYTES:
                file.seek(offset)
                file.write(tensor.raw_data)
            else:
                continue
            tensor.ClearField("raw_data")
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", offset), ("length", file.tell() - offset)):
                tensor.external_data.add(key=key, value=str(value))


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> None:
    while size_bytes and (block := source.read(min(size_bytes, BLOCK_BYTES))):
        target.write(block)
        size_bytes -= len(block)


def check_graph(graph: onnx.ModelProto | Path) -> None:
    """Check a graph, its types and shapes; one whose weights lie outside is checked as a file.

    Raises:
        ExportError: In the ONNX checker's words.
    """
    try:
        onnx.checker.check_model(str(graph) if isinstance(graph, Path) else graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refused the encoder: {first_line(error)}") from error

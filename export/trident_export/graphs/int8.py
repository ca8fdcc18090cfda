"""An 8-bit encoder for CPUs: weights in 8 bits by column, activations in 8 bits by row.

Two changes of the graph, exact in float32, come before quantisation. Columns of a layer's input that are large through
the whole data are divided, and the rows of its weights multiplied, by the same numbers (smoothing). Then each row of
the input is divided by its largest value, and the product multiplied by it: a token is quantised by its own range.
Hence an embedding does not depend on what else is in its batch, as it does with ONNX Runtime's dynamic quantisation.

Both are unsigned. With signed weights a CPU without VNNI adds two products in 16 bits, which overflow: it would answer
otherwise, and worse, than the CPU that made and proved the graph (measured, ``docs/log/``). Unsigned products are
added in 32 bits everywhere.

Source: Xiao et al. 2023, SmoothQuant; Yao et al. 2022, ZeroQuant (token-wise activations).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from trident_export.graphs.feeds import Batch, feeds_of
from trident_export.graphs.fuse import fuse_gelu

SMOOTHING = 0.65  # share of a large column's size that moves from activations to weights; 0.5 to 0.8 were measured
SMALLEST = 1e-6  # below this a row or column counts as zeros


def quantize_int8(source: Path, output: Path, calibration: Sequence[Batch], *, threads: int = 1) -> None:
    """Write the 8-bit graph of a float32 encoder; names, shapes and metadata stay.

    Args:
        source: The float32 ``.onnx`` file.
        output: The file to write.
        calibration: Batches of real texts; the sizes of activations are taken from them.
        threads: Of ONNX Runtime while they are; its own calibration afterwards cannot be told and takes all cores.
    """
    model = onnx.load(str(source))
    fuse_gelu(model)
    _rewrite(model, _largest_inputs(model, calibration, threads))
    layers = [node.name for node in _layers(model)]
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        smoothed = Path(folder) / "smoothed.onnx"
        onnx.save(model, str(smoothed))
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # its advice is to fold constants first, which the exporter did
        try:
            quantize_static(
                str(smoothed),
                str(output),
                _Calibration(calibration),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QUInt8,  # zero is 128; see the module
                per_channel=True,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=layers,
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"], "WeightSymmetric": True},
            )
        finally:
            root.setLevel(level)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterable[Batch]) -> None:
        self._feeds = iter([feeds_of(batch) for batch in batches])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _layers(model: onnx.ModelProto) -> list[NodeProto]:
    """Return the matrix products with a matrix of weights: (B, L, K) by (K, N)."""
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    return [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def _largest_inputs(model: onnx.ModelProto, batches: Sequence[Batch], threads: int) -> dict[str, NDArray[np.float32]]:
    """Return, for each layer's input, the largest absolute value (K,) of each column over all tokens."""
    names = sorted({node.input[0] for node in _layers(model)})
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(probe.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"])
    largest: dict[str, NDArray[np.float32]] = {}
    for batch in batches:
        tokens = batch.attention_mask.astype(bool)  # (B, L)
        for name, values in zip(names, session.run(names, feeds_of(batch)), strict=True):  # (B, L, K)
            found = np.abs(values[tokens]).max(axis=0)
            largest[name] = np.maximum(largest[name], found) if name in largest else found
    return largest


def _rewrite(model: onnx.ModelProto, largest: dict[str, NDArray[np.float32]]) -> None:
    """Divide each layer's input by columns and rows, and give it back to the weights and the product."""
    layers = _layers(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    factors = {}
    for name in largest:
        weights = [numpy_helper.to_array(tensors[node.input[1]]) for node in layers if node.input[0] == name]
        factors[name] = _column_factors(
            largest[name], np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
        )
    for weight in {node.input[1]: node for node in layers}.values():
        value = numpy_helper.to_array(tensors[weight.input[1]]) * factors[weight.input[0]][:, None]
        tensors[weight.input[1]].CopyFrom(numpy_helper.from_array(value.astype(np.float32), weight.input[1]))
    constants = {"int8_last_axis": np.array([-1]), "int8_smallest": np.array(SMALLEST, dtype=np.float32)}
    constants |= {f"{name}_int8_columns": (1 / value).astype(np.float32) for name, value in factors.items()}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    chosen = {node.name for node in layers}
    done: set[str] = set()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.name not in chosen:
            nodes.append(node)
            continue
        name, product = node.input[0], node.output[0]
        if name not in done:
            nodes += _divided(name)
            done.add(name)
        nodes.append(
            helper.make_node("MatMul", [f"{name}_int8_rows", node.input[1]], [f"{product}_int8"], name=node.name)
        )
        nodes.append(
            helper.make_node("Mul", [f"{product}_int8", f"{name}_int8_size"], [product], name=f"{node.name}_size")
        )
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _column_factors(inputs: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what each column (K,) is divided by, their geometric mean being 1."""
    factors = np.maximum(inputs, SMALLEST) ** SMOOTHING / np.maximum(weights, SMALLEST) ** (1 - SMOOTHING)
    return np.asarray(factors / np.exp(np.log(factors).mean()), dtype=np.float32)


def _divided(name: str) -> Iterator[NodeProto]:
    steps = [
        ("Mul", [name, f"{name}_int8_columns"], "smooth"),
        ("Abs", [f"{name}_int8_smooth"], "absolute"),
        ("ReduceMax", [f"{name}_int8_absolute", "int8_last_axis"], "largest"),  # (B, L, 1)
        ("Max", [f"{name}_int8_largest", "int8_smallest"], "size"),
        ("Div", [f"{name}_int8_smooth", f"{name}_int8_size"], "rows"),
    ]
    for operator, inputs, result in steps:
        output = f"{name}_int8_{result}"
        yield helper.make_node(operator, inputs, [output], name=f"node_{output}")

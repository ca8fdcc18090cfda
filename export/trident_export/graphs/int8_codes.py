"""The integers of the 8-bit graph in the form that the kernels read: a file of arrays by the layers' names.

For each linear layer NAME of a BERT or ModernBERT, of O outputs and I inputs: ``NAME.weight`` int8 (O, I), the graph's
less 128; ``NAME.scale`` float32 (O); and how its input is rounded: ``NAME.columns`` float32 (I), which it is multiplied
by, ``NAME.step`` float32 (1) and ``NAME.zero`` int32 (1), after it was divided by its largest magnitude.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper
from safetensors.numpy import load_file, save_file

from trident.encoder.encoder import FINGERPRINT_KEY
from trident.encoder.kernel_encoder import WEIGHTS_FILE
from trident.encoder.signed_weights import ZERO
from trident.errors import ExportError

# The linear layers of each layer, by what its name begins with, in the order of its computation.
LINEAR = {
    "encoder.layer": (  # BERT
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
    "layers": ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),  # ModernBERT
}
MOST_OFF = 0.51  # of a weight's step: rounding takes half of one


def write_codes(graph: Path, merged: Path, output: Path, *, prefix: str = "") -> int:
    """Write the integers of an 8-bit graph, and of which encoder they are; return how many linear layers have theirs.

    Args:
        graph: The padded graph that ``quantize_int8`` made.
        merged: The folder of the float32 model that it came from; a BERT or ModernBERT.
        output: The file to write.
        prefix: Of the names of its weights in that folder; the file has them without it.

    Raises:
        ExportError: If the graph's products are not the model's linear layers, one after the other.
    """
    model = onnx.load(str(graph))
    weights = {name.removeprefix(prefix): each for name, each in load_file(merged / WEIGHTS_FILE).items()}
    arrays: dict[str, NDArray[Any]] = {}
    names = _linear_layers(weights)
    for product in _products(model):
        start = 0
        while start < product["codes"].shape[1]:
            if not names:
                raise ExportError(f"the products of {graph.name} must be the model's linear layers, got more of them")
            name = names.pop(0)
            width = len(weights[f"{name}.weight"])
            part = slice(start, start + width)
            codes, scale, columns = product["codes"][:, part], product["scale"][part], product["columns"]
            _check(name, weights[f"{name}.weight"], codes, scale, columns)
            arrays[f"{name}.weight"] = codes.T
            arrays[f"{name}.scale"] = scale
            arrays |= {f"{name}.{key}": product[key] for key in ("columns", "step", "zero")}
            start += width
    if names:
        raise ExportError(f"the products of {graph.name} must be the model's linear layers, {names[0]} is missing")
    kept = {each.key: each.value for each in model.metadata_props if each.key == FINGERPRINT_KEY}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, output, metadata=kept)
    return len(arrays) // 5


def _linear_layers(weights: dict[str, NDArray[np.float32]]) -> list[str]:
    names = []
    for start, linear in LINEAR.items():
        layer = 0
        while f"{start}.{layer}.{linear[0]}.weight" in weights:
            names += [f"{start}.{layer}.{name}" for name in linear]
            layer += 1
    return names


def _products(model: onnx.ModelProto) -> list[dict[str, NDArray[Any]]]:
    """Return codes int8 (I, O), scale, columns, step and zero of each quantised product, in the graph's order."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    producers: dict[str, NodeProto] = {output: node for node in model.graph.node for output in node.output}

    def value(name: str) -> NDArray[Any]:
        return np.asarray(numpy_helper.to_array(tensors[name]))

    found: list[dict[str, NDArray[Any]]] = []
    for node in model.graph.node:
        weight = producers.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or weight.op_type != "DequantizeLinear":
            continue
        rounding = producers[producers[node.input[0]].input[0]]  # QuantizeLinear, behind DequantizeLinear
        smooth = producers[producers[rounding.input[0]].input[0]]  # Mul, behind Div
        found.append(
            {
                "codes": (value(weight.input[0]).astype(np.int16) - ZERO).astype(np.int8),
                "scale": value(weight.input[1]).astype(np.float32),
                "columns": value(smooth.input[1]).astype(np.float32),
                "step": value(rounding.input[1]).reshape(1).astype(np.float32),
                "zero": value(rounding.input[2]).reshape(1).astype(np.int32),
            }
        )
    return found


def _check(
    name: str,
    weight: NDArray[np.float32],
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    columns: NDArray[np.float32],
) -> None:
    """Raise unless a layer's weight (O, I), its inputs' columns taken in, was rounded to these codes (I, O)."""
    if weight.shape != codes.shape[::-1]:
        raise ExportError(f"{name} must have a product of its own shape, got {weight.shape} and {codes.shape[::-1]}")
    off = np.abs(weight.T / columns[:, None] / scale - codes).max()
    if off > MOST_OFF:
        raise ExportError(f"{name} must be what the graph rounded, got integers that are {off:.2f} steps off")

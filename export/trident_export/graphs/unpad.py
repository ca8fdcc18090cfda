"""The graph that a CPU serves: layers run over the tokens of a batch, and over no padding.

Between the first layer normalisation and pooling, whatever looks at one token at a time (matrix products with weights,
layer normalisation, activations) runs on the batch's tokens in one row, (1, T, C) instead of (B, L, C); tokens go back
to their rows where they look at each other. Names, shapes and types of the graph's inputs and output stay.

Source: the unpadding of Zhai et al. 2022, ByteTransformer, and of Portes et al. 2023, MosaicBERT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper, shape_inference

from trident.errors import ExportError
from trident.retrieval.tensors import ATTENTION_MASK, INPUT_IDS
from trident_export.graphs.fuse import fuse_gelu
from trident_export.graphs.graph_file import read_graph, write_graph

ARITHMETIC = ("Abs", "Add", "Div", "Max", "Min", "Mul", "Pow", "Sqrt", "Sub")
ACTIVATIONS = ("Clip", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh")
CONVERSIONS = ("Cast", "DequantizeLinear", "QuantizeLinear")
ELEMENTWISE = frozenset((*ARITHMETIC, *ACTIVATIONS, *CONVERSIONS))
PREFIX = "unpadded"

Shape = tuple[int | str | None, ...]


def convert_unpadded(source: Path, output: Path) -> int:
    """Write the unpadded graph of an encoder and return how many of its operators run over tokens only.

    Args:
        source: The ``.onnx`` file of a padded graph, float32 or 8-bit.
        output: The file to write, in the same folder: weights that lie outside are those of both.

    Raises:
        ExportError: If no matrix product with weights can run so.
    """
    model = read_graph(source, weights=False)  # none of those that may lie outside is changed
    fuse_gelu(model)
    packed = _Unpadding(model).apply()
    write_graph(model, output)
    return packed


class _Unpadding:
    """Rewrites one graph in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.shapes = dict(_shapes(model))
        self.batch = self.shapes[INPUT_IDS]  # (B, L), by their names
        self.constants = {tensor.name: tuple(tensor.dims) for tensor in self.graph.initializer}
        self.packed: set[str] = set()  # tensors that are (1, T, C) now
        self.nodes: list[NodeProto] = []

    def apply(self) -> int:
        """Rewrite the graph and return how many operators run over tokens only."""
        operators = products = 0
        started = False
        nodes = list(self.graph.node)
        self._prepare()
        for node in nodes:
            if all(name in self.constants for name in node.input if name):
                self.constants |= {name: self.shapes.get(name, ()) for name in node.output}
            started = started or node.op_type == "LayerNormalization"
            if started and self._by_token(node):
                self._read(node, self._pack)
                self.packed.update(node.output)
                operators += 1
                products += node.op_type == "MatMul"
            else:
                self._read(node, self._unpack)
            self.nodes.append(node)
        if not products:
            raise ExportError("no matrix product of this encoder can run over tokens without padding")
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        return operators

    def _by_token(self, node: NodeProto) -> bool:
        """Return whether an operator gives each token's result from this token's values and constants alone."""
        inputs = [name for name in node.input if name]
        tokens = [name for name in inputs if name not in self.constants]
        if not tokens or not all(name in self.packed or self._is_padded(name) for name in tokens):
            return False
        others = [self.constants[name] for name in inputs if name in self.constants]
        match node.op_type:
            case "MatMul":
                return inputs[0] in tokens and len(others) == 1 and len(others[0]) == 2
            case "LayerNormalization":
                return inputs[0] in tokens and _attribute(node, "axis", -1) in (-1, 2)
            case "ReduceMax":
                return bool(_attribute(node, "keepdims", 1)) and self._reduced_axes(inputs) in ([-1], [2])
            case name if name in ELEMENTWISE:
                return all(np.prod(shape[:-1]) == 1 for shape in others)  # scalars, (C,) or (1, 1, C)
        return False

    def _is_padded(self, name: str) -> bool:
        """Return whether a tensor is (B, L, C), C > 1: a mask (B, L, 1) must not lose its rows of padding."""
        shape = self.shapes.get(name, ())
        return len(shape) == 3 and shape[:2] == self.batch and isinstance(shape[2], int) and shape[2] > 1

    def _reduced_axes(self, inputs: list[str]) -> list[int]:
        values = {tensor.name: tensor for tensor in self.graph.initializer}
        known = len(inputs) == 2 and inputs[1] in values
        return numpy_helper.to_array(values[inputs[1]]).tolist() if known else []

    def _read(self, node: NodeProto, convert: Callable[[str], str]) -> None:
        for position, name in enumerate(node.input):
            node.input[position] = convert(name)

    def _pack(self, name: str) -> str:
        """Return the name of a tensor (1, T, C), made of (B, L, C) if need be."""
        if name in self.packed or name in self.constants or not name:
            return name
        packed = f"{name}_{PREFIX}"
        if packed not in self.packed:
            self.packed.add(packed)
            shape = self._constant(f"{packed}_shape", [1, -1, self.shapes[name][2]])
            self._add("Reshape", [name, shape], f"{packed}_row")
            self._add("Gather", [f"{packed}_row", f"{PREFIX}_tokens"], packed, axis=1)
        return packed

    def _unpack(self, name: str) -> str:
        """Return the name of a tensor (B, L, C), made of (1, T, C) if need be; padding holds another token's values."""
        if name not in self.packed:
            return name
        padded = f"{name}_padded"
        if padded not in self.shapes:
            self.shapes[padded] = self.shapes[name]
            width = self._constant(f"{padded}_width", [self.shapes[name][2]])
            self._add("Gather", [name, f"{PREFIX}_places"], f"{padded}_row", axis=1)
            self._add("Concat", [f"{PREFIX}_batch", width], f"{padded}_shape", axis=0)
            self._add("Reshape", [f"{padded}_row", f"{padded}_shape"], padded)
        return padded

    def _prepare(self) -> None:
        """Number the tokens: where each is in the batch (T,), and which one each place of the batch (B * L,) takes.

        The first place counts as a token even where it is padding, so that T >= 1.
        """
        flat, axis = self._constant(f"{PREFIX}_flat", [-1]), self._constant(f"{PREFIX}_axis", [0])
        first, one = self._constant(f"{PREFIX}_first", 0), self._constant(f"{PREFIX}_one", [1])
        end = self._constant(f"{PREFIX}_end", [np.iinfo(np.int64).max])
        self._add("Shape", [ATTENTION_MASK], f"{PREFIX}_batch")
        self._add("Reshape", [ATTENTION_MASK, flat], f"{PREFIX}_all")
        self._add("Slice", [f"{PREFIX}_all", one, end], f"{PREFIX}_others")
        self._add("Concat", [one, f"{PREFIX}_others"], f"{PREFIX}_mask", axis=0)
        self._add("NonZero", [f"{PREFIX}_mask"], f"{PREFIX}_nonzero")
        self._add("Squeeze", [f"{PREFIX}_nonzero", axis], f"{PREFIX}_tokens")
        self._add("CumSum", [f"{PREFIX}_mask", first], f"{PREFIX}_count")
        self._add("Sub", [f"{PREFIX}_count", one], f"{PREFIX}_places")

    def _constant(self, name: str, value: object) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"node_{output}", **attributes))


def _shapes(model: onnx.ModelProto) -> Iterator[tuple[str, Shape]]:
    graph = shape_inference.infer_shapes(model).graph
    for value in [*graph.input, *graph.value_info, *graph.output]:
        if value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            yield (
                value.name,
                tuple(size.dim_value if size.HasField("dim_value") else size.dim_param or None for size in sizes),
            )


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)

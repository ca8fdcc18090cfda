"""Joins operators: layers that read the same input (an attention's query, key and value), and those of a GELU."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

ONNX_RUNTIME_DOMAIN = "com.microsoft"


def fuse_projections(model: onnx.ModelProto, *, weights_in: Path) -> int:
    """Join such layers in place, exactly, and return how many products were saved.

    A layer is a matrix product with constant weights (K, N) followed by the addition of a constant bias (N,).

    Args:
        model: The graph.
        weights_in: The folder of weights that lie outside of it, where any do.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    by_input: dict[str, list[tuple[NodeProto, NodeProto]]] = {}
    for node in model.graph.node:
        following = readers.get(node.output[0], [])
        if node.op_type == "MatMul" and node.input[1] in tensors and len(following) == 1:
            (added,) = following
            if added.op_type == "Add" and any(name in tensors for name in added.input):
                by_input.setdefault(node.input[0], []).append((node, added))
    joined = {name: layers for name, layers in by_input.items() if len(layers) > 1}
    instead: dict[str, list[NodeProto]] = {}
    gone: set[str] = set()
    for name, layers in joined.items():
        instead[layers[0][0].name] = _joined(model, name, layers, tensors, weights_in)
        gone.update(node.name for layer in layers for node in layer)
    nodes = []
    for node in model.graph.node:
        nodes += instead.get(node.name, [])
        if node.name not in gone:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unread(model)
    return len(gone) // 2 - len(joined)


def _joined(
    model: onnx.ModelProto,
    name: str,
    layers: list[tuple[NodeProto, NodeProto]],
    tensors: dict[str, onnx.TensorProto],
    folder: Path,
) -> list[NodeProto]:
    weights = [numpy_helper.to_array(tensors[node.input[1]], str(folder)) for node, _ in layers]  # (K, N) each
    biases = [next(tensors[name] for name in added.input if name in tensors) for _, added in layers]
    constants = {
        "weight": np.concatenate(weights, axis=1),
        "bias": np.concatenate([numpy_helper.to_array(bias, str(folder)) for bias in biases]),
        "widths": np.array([weight.shape[1] for weight in weights]),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(value, f"{name}_joined_{role}") for role, value in constants.items()
    )
    prefix = f"{name}_joined"
    return [
        helper.make_node("MatMul", [name, f"{prefix}_weight"], [f"{prefix}_product"], name=f"node_{prefix}_product"),
        helper.make_node("Add", [f"{prefix}_product", f"{prefix}_bias"], [f"{prefix}_sum"], name=f"node_{prefix}_sum"),
        helper.make_node(
            "Split",
            [f"{prefix}_sum", f"{prefix}_widths"],
            [added.output[0] for _, added in layers],
            name=f"node_{prefix}_split",
            axis=-1,
        ),
    ]


def _drop_unread(model: onnx.ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    made = {name for node in model.graph.node for name in node.output}
    shapes = [value for value in model.graph.value_info if value.name in made]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)


def fuse_gelu(model: onnx.ModelProto) -> int:
    """Make one operator of each ``x * (0.5 * (1 + erf(x / sqrt(2))))``, in place, and return how many were made.

    It is ONNX Runtime's own ``Gelu``, which its optimiser does not see in what PyTorch's exporter writes.
    """
    values = {tensor.name: tensor for tensor in model.graph.initializer if not tensor.dims}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    gone: set[str] = set()
    made = 0
    for node in model.graph.node:
        if node.op_type != "Mul":
            continue
        for gated, value in (tuple(node.input), tuple(node.input)[::-1]):
            steps = _gelu_steps(value, gated, makers, values)
            if steps and all(readers[step.output[0]] == 1 for step in steps):
                gone.update(step.name for step in steps)
                node.CopyFrom(
                    helper.make_node("Gelu", [gated], list(node.output), name=node.name, domain=ONNX_RUNTIME_DOMAIN)
                )
                made += 1
                break
    if made:
        kept = [node for node in model.graph.node if node.name not in gone]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.opset_import.append(helper.make_opsetid(ONNX_RUNTIME_DOMAIN, 1))
        _drop_unread(model)
    return made


def _gelu_steps(
    name: str, gated: str, makers: dict[str, NodeProto], values: dict[str, onnx.TensorProto]
) -> list[NodeProto]:
    """Return the operators that make ``0.5 * (1 + erf(gated / sqrt(2)))``, last first; none if the tensor is not it."""
    steps = []
    for operator, constant in (("Mul", 0.5), ("Add", 1.0), ("Erf", None), ("Div", math.sqrt(2))):
        node = makers.get(name)
        if node is None or node.op_type != operator:
            return []
        known = [each for each in node.input if each in values]
        others = [each for each in node.input if each not in values]
        if len(others) != 1 or (constant is not None and not _is(values, known, constant)):
            return []
        steps.append(node)
        name = others[0]
    return steps if name == gated else []


def _is(values: dict[str, onnx.TensorProto], names: list[str], constant: float) -> bool:
    return len(names) == 1 and math.isclose(float(numpy_helper.to_array(values[names[0]])), constant, rel_tol=1e-6)

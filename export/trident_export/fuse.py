"""Joins layers that read the same input (an attention's query, key and value) into one matrix product."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper


def fuse_projections(model: onnx.ModelProto) -> int:
    """Join such layers in place, exactly, and return how many products were saved.

    A layer is a matrix product with constant weights (K, N) followed by the addition of a constant bias (N,).
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
        instead[layers[0][0].name] = _joined(model, name, layers, tensors)
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
) -> list[NodeProto]:
    weights = [numpy_helper.to_array(tensors[node.input[1]]) for node, _ in layers]  # (K, N) each
    biases = [next(tensors[name] for name in added.input if name in tensors) for _, added in layers]
    constants = {
        "weight": np.concatenate(weights, axis=1),
        "bias": np.concatenate([numpy_helper.to_array(bias) for bias in biases]),
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

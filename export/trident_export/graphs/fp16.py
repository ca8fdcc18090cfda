"""A half-precision encoder: matrix products in float16; layer normalisation, softmax and all pooling in float32."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from trident.errors import ExportError

FLOAT32_OPERATORS = ("LayerNormalization", "Softmax")  # sums of many values, and exponentials


def convert_fp16(source: Path, output: Path) -> None:
    """Write the float16 graph of a float32 encoder; inputs, output, names and metadata stay.

    What follows the last layer (pooling and normalisation) is set aside and put back as it was: a sum over tokens, a
    square root, and a smallest divisor that float16 cannot hold.

    Args:
        source: The float32 ``.onnx`` file.
        output: The file to write.

    Raises:
        ExportError: If the graph has no layer normalisation after which it could be cut.
    """
    model = onnx.load(str(source))
    layers, pooling = _cut(list(model.graph.node), source)
    hidden = layers[-1].output[0]  # (B, L, D)
    constants = _own_constants(pooling, list(model.graph.initializer))
    outputs = list(model.graph.output)
    del model.graph.node[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(layers)
    model.graph.output.append(helper.make_tensor_value_info(hidden, TensorProto.FLOAT, ("B", "L", "D")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights below float16's smallest number, which become zero
        half = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT32_OPERATORS]
        )
    graph = half.graph
    drop_repeated_casts(graph)
    del graph.output[:], graph.value_info[:]
    graph.initializer.extend(constants)
    graph.node.extend(pooling)
    graph.output.extend(outputs)
    OnnxModel(half).topological_sort(is_deterministic=True)  # the converter appends its casts at the end
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, str(output))


def drop_repeated_casts(graph: onnx.GraphProto) -> None:
    """Keep one of equal casts: ONNX Runtime before 1.32 writes one for each reader of a constant, all of one name."""
    seen: set[bytes] = set()
    kept = []
    for node in graph.node:
        text = node.SerializeToString(deterministic=True)
        if node.op_type != "Cast" or text not in seen:
            kept.append(node)
        seen.add(text)
    del graph.node[:]
    graph.node.extend(kept)


def _cut(nodes: list[NodeProto], source: Path) -> tuple[list[NodeProto], list[NodeProto]]:
    """Return the layers and what follows them; the latter reads nothing of the layers but their result."""
    last = max((row for row, node in enumerate(nodes) if node.op_type == "LayerNormalization"), default=None)
    if last is None:
        raise ExportError(f"float16 needs a graph with layer normalisation to keep it in float32, got none in {source}")
    layers, pooling = nodes[: last + 1], nodes[last + 1 :]
    made = {name for node in layers[:-1] for name in node.output}
    shared = sorted(made & {name for node in pooling for name in node.input})
    if shared:
        raise ExportError(f"pooling must read nothing but the last layer, got {', '.join(shared)} in {source}")
    return layers, pooling


def _own_constants(nodes: list[NodeProto], constants: list[TensorProto]) -> list[TensorProto]:
    """Give nodes copies of the constants that they read, and return these: the layers' own are converted."""
    read = {name for node in nodes for name in node.input}
    copies = []
    for tensor in constants:
        if tensor.name in read:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = f"pooling_{tensor.name}"
            copies.append(copy)
    names = {copy.name.removeprefix("pooling_"): copy.name for copy in copies}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
    return copies

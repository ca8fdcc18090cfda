#!/usr/bin/env bash
# ONNX Runtime: in a graph of quantize_dynamic a query's embedding depends on the other queries of its batch.
#
# What surprises: dynamic quantisation reads as "rounded by what comes in", and of a batch one expects each row to be
# rounded by its own numbers, since rows have nothing to do with each other anywhere else in the graph. There is one
# scale for the whole tensor, so the row with the largest number sets the step for all. A service that collects queries
# into batches therefore gives the same query other answers from moment to moment, by who asks beside it, and the more
# a neighbour stands out, the worse; a test that asks one query at a time sees none of it. Remedy: a scale for each row
# in the graph, static quantisation, or batches of one.
# In Trident's 8-bit graph a row's embedding does not depend on its batch.
#
# Software: onnxruntime 1.32.0, CPUExecutionProvider; onnx 1.23.2.
# Seen, 200 queries, the best of 2,000 products, alone and beside one row whose numbers are 1, 10, 30 times as large:
# another product is first for 2, 13, 83 of them in 8 bits, for none in float32; the least cosine to the embedding alone
# .9999, .995, .957.
# Source: the operator DynamicQuantizeLinear of ONNX has one scale; what a neighbour costs measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - "$work" <<'END'
import logging
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

logging.disable(logging.WARNING)  # that the graph was not optimised before
folder = Path(sys.argv[1])
random = numpy.random.default_rng(0)
sizes = {"first": (64, 128), "second": (128, 64)}
weights = [
    numpy_helper.from_array((random.standard_normal(size) / size[0] ** 0.5).astype(numpy.float32), name)
    for name, size in sizes.items()
]
nodes = [
    helper.make_node("MatMul", ["text", "first"], ["hidden"]),
    helper.make_node("Relu", ["hidden"], ["positive"]),
    helper.make_node("MatMul", ["positive", "second"], ["embedding"]),
]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in ("text", "embedding")]
graph = helper.make_graph(nodes, "encoder", ends[:1], ends[1:], weights)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "float32.onnx")
quantize_dynamic(folder / "float32.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)
encoders = {
    name: onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    for name in ("float32", "int8")
}


def unit(name, texts):
    found = encoders[name].run(None, {"text": texts.astype(numpy.float32)})[0]
    return found / numpy.linalg.norm(found, axis=1, keepdims=True)


products = unit("float32", random.standard_normal((2000, 64)))
queries, neighbour = random.standard_normal((200, 64)), random.standard_normal((1, 64))
print("200 queries alone and beside one other row, the largest numbers of which are so many times theirs:")
print("how many have another best product, and the least cosine between both embeddings")
seen = {}
for name in encoders:
    alone = numpy.concatenate([unit(name, query[None]) for query in queries])
    for times in (1, 10, 30):
        beside = numpy.concatenate([unit(name, numpy.vstack([query, times * neighbour]))[:1] for query in queries])
        best = [(each @ products.T).argmax(axis=1) for each in (alone, beside)]
        seen[name, times] = int((best[0] != best[1]).sum()), float((alone * beside).sum(axis=1).min())
        print(f"  {name}, {times} times: {seen[name, times][0]}, {seen[name, times][1]:.4f}")

as_seen = (
    all(seen["float32", times][0] == 0 and seen["float32", times][1] > 0.99999 for times in (1, 10, 30))
    and 3 < seen["int8", 10][0] < seen["int8", 30][0]
    and seen["int8", 30][0] > 30
    and seen["int8", 30][1] < 0.98
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END

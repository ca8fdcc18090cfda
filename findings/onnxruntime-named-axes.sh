#!/usr/bin/env bash
# ONNX Runtime does not hold two inputs to the axis name that both declare: a mask of one row serves a whole batch.
#
# What surprises: input_ids and attention_mask both declare (batch, length), and ONNX says that a name stands for one
# size in the whole graph. So one expects that a batch of four with a mask of one row is refused, as it is where the
# sizes are numbers. It is answered: names are not compared, and multiplying spreads the one row over the batch. Every
# text is pooled with the first one's mask, and the vectors are wrong for all but the first, with the right shape, no
# error and no warning. A mask of one column, which is none at all, passes likewise. Only sizes that no operator can
# spread are refused, by whichever operator meets them. A caller that keeps a mask, or makes it of one text, sees
# nothing but worse answers. Remedy: compare the shapes before the call.
#
# Software: onnxruntime 1.32.0, CPUExecutionProvider; onnx 1.23.2.
# Seen, cosines of four texts' vectors to the right ones: mask of one row 1, -.01, .66, .65; of one column .92, 1, -.16,
# .71; of three rows refused. With the sizes declared as numbers all three are refused.
# Source: the specification of ONNX IR (a dimension variable has the same value in the entire graph); tinygrad/tinygrad
# pull request 9898 found that ONNX Runtime does not check it; what that does to vectors measured, 2026-11-30.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def session(batch, length):
    """Return a mean over the tokens that the mask has, with the axes declared by these names or sizes."""
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, [batch, length]),
        helper.make_tensor_value_info("attention_mask", TensorProto.FLOAT, [batch, length]),
    ]
    words = numpy.random.default_rng(0).standard_normal((50, 8)).astype(numpy.float32)
    constants = [numpy_helper.from_array(words, "words")]
    constants += [numpy_helper.from_array(numpy.array([axis]), name) for name, axis in (("last", -1), ("tokens", 1))]
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["vectors"]),
        helper.make_node("Unsqueeze", ["attention_mask", "last"], ["mask"]),
        helper.make_node("Mul", ["vectors", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["embedding"]),
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 8])]
    graph = helper.make_graph(nodes, "pooling", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


onnxruntime.set_default_logger_severity(4)  # what is refused is raised, and not logged as well
lengths = numpy.array([2, 6, 4, 5])
ids = numpy.random.default_rng(1).integers(1, 50, (4, 6))
mask = (numpy.arange(6) < lengths[:, None]).astype(numpy.float32)
masks = {"of its own": mask, "of one row": mask[:1], "of one column": mask[:, :1], "of three rows": mask[:3]}


def cosines(graph, given):
    """Return each text's cosine to its right vector, or that the mask is refused."""
    right = graph.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    try:
        found = graph.run(None, {"input_ids": ids, "attention_mask": given})[0]
    except Exception:
        return "refused"
    lengths = numpy.linalg.norm(found, axis=1) * numpy.linalg.norm(right, axis=1)
    return [round(float(each), 2) for each in (found * right).sum(axis=1) / lengths]


print("cosine of four texts' vectors to the right ones; the axes declared by name, and by size")
named, sized = session("batch", "length"), session(4, 6)
seen = {}
for name, given in masks.items():
    seen[name] = cosines(named, given), cosines(sized, given)
    print(f"  mask {name}: {seen[name][0]}; {seen[name][1]}")

row, column = seen["of one row"], seen["of one column"]
as_seen = (
    seen["of its own"] == ([1.0] * 4, [1.0] * 4)
    and seen["of three rows"] == ("refused", "refused")
    and row[1] == column[1] == "refused"
    and row[0][0] == 1
    and max(row[0][1:]) < 0.95
    and min(column[0]) < 0.95
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END

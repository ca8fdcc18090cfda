#!/usr/bin/env bash
# ONNX Runtime on a CPU computes a float16 graph in float32: it answers rightly where float16 overflows.
#
# What surprises: a graph whose inputs, outputs and values are all declared float16 runs on a CPU, so one compares it
# with the float32 graph there before it goes to a GPU, and agreement is taken for proof. It is none. The runtime puts a
# cast to float32 at the start and one to float16 at the end, and nothing between them is ever rounded, with all
# optimisations off too: x * x / x is 300 for 300, although 90,000 is no float16. NumPy, PyTorch in float16 and the
# reference evaluator of ONNX give infinity, and so may the GPU. Asking for the value between makes it stranger: the
# same answer then holds an infinite x * x beside x * x / x = 300. What a CPU can check is whether the values inside
# the float32 graph stay below 65,504.
#
# Software: onnxruntime 1.32.0, CPUExecutionProvider; onnx 1.23.2.
# Seen, for 100, 300 and 1,000: onnxruntime 100, 300, 1000 with all optimisations and with none, x * x asked for beside
# it 10000, inf, inf; the operators that it runs Cast, Mul, Div, Cast; NumPy and the reference 100, inf, inf.
# Source: microsoft/onnxruntime issue 11831 says that casts are put in, not that what lies between stays in float32;
# that measured, 2026-11-29.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - "$work/optimised.onnx" <<'END'
import sys
import warnings

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore", RuntimeWarning)  # NumPy names each overflow


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["n"])


nodes = [helper.make_node("Mul", ["x", "x"], ["square"]), helper.make_node("Div", ["square", "x"], ["y"])]


def model(outputs):
    graph = helper.make_graph(nodes, "graph", [value("x")], [value(name) for name in outputs])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(outputs, level, saved=None):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if saved:
        options.optimized_model_filepath = saved
    session = onnxruntime.InferenceSession(
        model(outputs).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [answer.tolist() for answer in session.run(outputs, {"x": x})]


levels = onnxruntime.GraphOptimizationLevel
x = numpy.array([100, 300, 1000], numpy.float16)
all_on = run(["y"], levels.ORT_ENABLE_ALL)[0]
all_off = run(["y"], levels.ORT_DISABLE_ALL, sys.argv[1])[0]
square, beside = run(["square", "y"], levels.ORT_ENABLE_ALL)
operators = [node.op_type for node in onnx.load(sys.argv[1]).graph.node]
plain = (x * x / x).tolist()
reference = ReferenceEvaluator(model(["y"])).run(None, {"x": x})[0].tolist()

print("x * x / x in float16, for", x.tolist())
print("  NumPy", plain)
print("  reference evaluator of ONNX", reference)
print("  ONNX Runtime", all_on)
print("  ONNX Runtime, no optimisation", all_off, "by", ", ".join(operators))
print("  ONNX Runtime, asked for x * x too", beside, "and x * x", square)

infinity = float("inf")
as_seen = (
    plain == reference == [100.0, infinity, infinity]
    and all_on == all_off == beside == [100.0, 300.0, 1000.0]
    and square == [10000.0, infinity, infinity]
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END

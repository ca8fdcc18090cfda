#!/usr/bin/env bash
# ONNX Runtime: with an IO binding, the next run writes into the array that the last one returned.
#
# What surprises: bind_output("embedding") names no memory, so one expects what run() does, a new array for each call.
# The first run makes the memory, and each later one writes into it; get_outputs()[0].numpy() shows that memory and
# copies nothing on a CPU. A service that binds once, which is what the binding is for, and hands the array on, to a
# cache, a queue or a batch that is still being collected, hands on the embedding of a later query: no error, no
# warning, and right in every test that looks at one answer at a time. A run of another batch size on the same binding
# is refused instead, since the first one's shape stays. Remedy: copy_outputs_to_cpu(), which copies, or bind_output
# anew before each run, which also takes other shapes.
#
# Software: onnxruntime 1.32.0, CPUExecutionProvider; onnx 1.23.2.
# Seen, the squares of (1, 2) and then of (3, 4), looked at after both: run (1, 4) and (9, 16); bound once (9, 16)
# twice; bound once and copied, or bound for each run, (1, 4) and (9, 16). Two queries in one run after that: refused
# where it was bound once, else right.
# Source: measured, 2026-11-30; microsoft/onnxruntime pull request 4439 has the question whether the next run
# overwrites.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import numpy
import onnxruntime
from onnx import TensorProto, helper

axes = ["batch", 2]
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in ("query", "embedding")]
square = helper.make_node("Mul", ["query", "query"], ["embedding"])
graph = helper.make_graph([square], "square", values[:1], values[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4  # what is refused is raised, and not logged as well
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answers(way):
    """Return the embeddings of two queries, looked at once both were asked; then whether two in one run work."""
    binding = session.io_binding()
    if way != "run":
        binding.bind_output("embedding")

    def ask(rows):
        query = numpy.array(rows, dtype=numpy.float32)
        if way == "run":
            return session.run(["embedding"], {"query": query})[0]
        binding.bind_cpu_input("query", query)
        if way == "bound for each run":
            binding.bind_output("embedding")
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0] if way == "bound once, copied" else binding.get_outputs()[0].numpy()

    first, second = ask([[1, 2]]), ask([[3, 4]])
    try:
        more = ask([[1, 2], [3, 4]]).tolist() == [[1, 4], [9, 16]]
    except Exception:
        more = "refused"
    return first[0].tolist(), second[0].tolist(), more


print("squares of (1, 2), then of (3, 4), looked at after both; two queries in one run")
seen = {}
for way in ("run", "bound once", "bound once, copied", "bound for each run"):
    seen[way] = answers(way)
    print(f"  {way}: {seen[way][0]}, {seen[way][1]}; {'right' if seen[way][2] is True else seen[way][2]}")

as_seen = seen == {
    "run": ([1, 4], [9, 16], True),
    "bound once": ([9, 16], [9, 16], "refused"),
    "bound once, copied": ([1, 4], [9, 16], "refused"),
    "bound for each run": ([1, 4], [9, 16], True),
}
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END

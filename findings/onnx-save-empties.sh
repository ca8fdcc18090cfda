#!/usr/bin/env bash
# onnx: saving a model with its weights in a file of their own takes them out of the model that was handed over.
#
# What surprises: saving is expected to leave the thing that is saved alone. onnx.save(model, …,
# save_as_external_data=True) moves the weights out of the model in memory: its tensors are left with a file's name and
# no numbers. A second save of the same model, into another folder, say the float32 graph beside a copy for another
# precision, writes a graph that names a file of weights and no such file, without an error; it shows when the graph is
# loaded there, on the server. And a model that is loaded and saved over itself has all its weights twice in their file,
# since that is appended to. Remedy: save a copy (copy.deepcopy), and remove the file of weights before it is written.
# Trident writes the file of weights itself, anew for each graph.
#
# Software: onnx 1.23.2, onnxruntime 1.32.0.
# Seen, weights of 16,384 bytes in memory before 16,384, after 0; the first folder m.data and m.onnx, the second m.onnx
# alone, which cannot be loaded; a deep copy saved into a third folder loads; loaded and saved over itself, m.data has
# 32,768 bytes.
# Source: onnx/onnx issue 6655 (the file grows); the second folder measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - "$work" <<'END'
import copy
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

folders = [Path(sys.argv[1]) / name for name in ("first", "second", "third")]
weights = numpy_helper.from_array(numpy.ones((64, 64), numpy.float32), "weights")
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], "graph", ends[:1], ends[1:], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4


def in_memory():
    return len(model.graph.initializer[0].raw_data)


def save(which, folder):
    folder.mkdir(exist_ok=True)
    onnx.save(which, folder / "m.onnx", save_as_external_data=True, location="m.data")
    return sorted(path.name for path in folder.iterdir())


def loads(folder):
    try:
        session = onnxruntime.InferenceSession(folder / "m.onnx", options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return bool((session.run(None, {"x": numpy.ones((1, 64), numpy.float32)})[0] == 64).all())


seen = {"before": in_memory()}
whole = copy.deepcopy(model)
seen["first"] = (save(model, folders[0]), loads(folders[0]))
seen["after"] = in_memory()
seen["second"] = (save(model, folders[1]), loads(folders[1]))
seen["third"] = (save(whole, folders[2]), loads(folders[2]))
save(onnx.load(folders[0] / "m.onnx"), folders[0])
seen["over itself"] = (folders[0] / "m.data").stat().st_size
print(f"bytes of weights in memory: before the first save {seen['before']}, after it {seen['after']}")
for name in ("first", "second", "third"):
    print(f"  {name} folder: {', '.join(seen[name][0])}; {'runs' if seen[name][1] else 'cannot be loaded'}")
print(f"  the first loaded and saved over itself: m.data has {seen['over itself']} bytes")

as_seen = seen == {
    "before": 16384,
    "first": (["m.data", "m.onnx"], True),
    "after": 0,
    "second": (["m.onnx"], False),
    "third": (["m.data", "m.onnx"], True),
    "over itself": 32768,
}
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END

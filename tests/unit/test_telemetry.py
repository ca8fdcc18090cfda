"""Nothing of ours talks to strangers: ONNX Runtime's telemetry is off wherever Trident is imported."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto, helper

LATEST_S = 90  # of a first upload; ten seconds where nobody else works
AFTER_S = 5
PROGRAM = """
import sys
import trident.encoder.onnx_session
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {"x": np.zeros(1, np.float32)})
sys.stdin.read()
"""


@contextmanager
def running(model: Path, home: Path, said: dict[str, str]) -> Iterator[socket.socket]:
    """Run a session in a process whose way out is a proxy of ours; yield what listens there."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        silent = {"CI", "NO_PROXY", "no_proxy", "ORT_DISABLE_TELEMETRY"}  # it says nothing where a CI variable is
        environment = {name: value for name, value in os.environ.items() if name not in silent}
        environment |= {"HTTPS_PROXY": address, "https_proxy": address, "HOME": str(home), **said}
        command = [sys.executable, "-c", PROGRAM, model]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
            yield proxy
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(60) == 0


def test_onnx_runtime_tells_nobody(tmp_path: Path) -> None:
    """The other process, where it may, shows that it would."""
    model = tmp_path / "model.onnx"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "graph", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    with (
        running(model, tmp_path / "home", {}) as ours,
        running(model, tmp_path / "home", {"ORT_DISABLE_TELEMETRY": "0"}) as allowed,
    ):
        assert select.select([allowed], [], [], LATEST_S)[0], "it tells nobody any more: is the variable needed?"
        assert select.select([ours], [], [], AFTER_S)[0] == []

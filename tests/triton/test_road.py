"""The whole road through the command line, on a tiny model: train, export with every precision and a plan, serve,
search, verify. ``make demo`` takes the same road with MiniLM and the bundled sample.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trident.server.server import free_ports

RECIPE = """
base_model = "{model}"
[data]
pairs = "{pairs}"
validation_share = 0.2
test_share = 0.3
[text]
query_max_tokens = 16
product_max_tokens = 32
[optimizer]
epochs = 4
batch_size = 16
learning_rate = 1e-2
"""
SET = ("engine.library=tensorrt_rtx", "precision.made=['fp16', 'int8']", "index.ef=200", "threads=1")


@pytest.fixture
def trident(run_trident: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., dict]:
    """Return what runs a command that has to succeed, and gives its JSON document."""

    def run(*arguments: str | Path) -> dict:
        done = run_trident(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_trained_model_is_served_and_answers_as_it_was_exported(
    trident, run_trident, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    recipe, generations = tmp_path / "tiny.toml", tmp_path / "generations"
    recipe.write_text(RECIPE.format(model=tiny_model, pairs=tiny_data / "pairs.csv"), encoding="utf-8")
    report = trident("train", recipe, "--out", tmp_path / "run")
    assert report["improved"]

    options = [word for value in SET for word in ("--set", value)]
    exported = trident(
        "export", tmp_path / "run", "--catalogue", tiny_data / "products.csv", "--out", generations, *options
    )
    stages = [row["stage"] for row in exported["stages"]]
    assert {"merge", "onnx", "parity", "fp16", "int8", "engine", "golden", "repository"} <= set(stages)

    http_port, grpc_port, metrics_port = map(str, free_ports(3))
    ports = ["--http-port", http_port, "--grpc-port", grpc_port, "--metrics-port", metrics_port]
    command = [sys.executable, "-m", "trident", "serve", "--generations", str(generations), "--json", *ports]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE) as server:
        try:
            ready = json.loads(server.stdout.readline())
            assert ready["generation"] == exported["id"]
            found = trident("search", "crimson kettle", "--url", f"127.0.0.1:{grpc_port}")
            assert found["generation"] == exported["id"]
            assert "red" in found["hits"][0]["title"]
            verified = run_trident("verify", "--url", f"127.0.0.1:{http_port}", "--generations", generations)
            assert verified.returncode == 0, verified.stderr
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    assert server.returncode == 0

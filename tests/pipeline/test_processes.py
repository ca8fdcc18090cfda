"""The same run on one and on two processes: the same losses, the same weights within float tolerance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trident.server.server import free_ports

RECIPE = """
base_model = "{model}"
data = {{ pairs = "{data}/pairs.csv", validation_share = 0.2, test_share = 0.3 }}
text = {{ query_max_tokens = 16, product_max_tokens = 32 }}
loss = {{ {loss} }}
optimizer = {{ epochs = 2, batch_size = 12, learning_rate = 5e-3{optimizer} }}
"""
ON_CPU = {"ACCELERATE_USE_CPU": "true"}
Arguments = tuple[str | Path, ...]
Outcome = subprocess.CompletedProcess[str]
LOSSES = {
    "cosine": ('name = "cosine"', ""),
    "infonce": (
        'name = "infonce"',
        ", gradient_accumulation = 2, gradient_checkpointing = true",
    ),
}
METHODS = {"lora": 'method = "lora"', "full": 'method = "full"', "upper": "lora = { top_layers = 1 }"}


def in_one(warm_python: Any, arguments: Arguments) -> Outcome:
    return warm_python.run(*arguments, **ON_CPU)


def by_torchrun(warm_python: Any, arguments: Arguments) -> Outcome:
    port = free_ports(1)[0]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **ON_CPU}
    return subprocess.run([*launcher, *map(str, arguments)], capture_output=True, text=True, env=environment)


def as_torchrun_does(warm_python: Any, arguments: Arguments) -> Outcome:
    """Start two processes with the variables that torchrun gives them, and return what the first one did."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0]), "WORLD_SIZE": "2"}
    shared |= {"LOCAL_WORLD_SIZE": "2", **ON_CPU}
    started = [warm_python.start(*arguments, RANK=rank, LOCAL_RANK=rank, **shared) for rank in "01"]
    first, second = [warm_python.finish(pid) for pid in started]
    assert (second.returncode, second.stdout) == (first.returncode, ""), second.stderr
    return first


def train(launch: Callable[[Any, Arguments], Outcome], warm_python: Any, recipe: Path, out: Path) -> str:
    """Run ``trident train`` and return the number of processes of its report."""
    outcome = launch(warm_python, ("-m", "trident", "train", recipe, "--out", out, "--allow-worse", "--json"))
    assert outcome.returncode == 0, outcome.stderr
    return str(json.loads(outcome.stdout)["environment"]["processes"])  # one document, of the first one


@pytest.mark.parametrize(
    ("name", "method", "launch"),
    [
        ("cosine", "lora", by_torchrun),
        ("infonce", "lora", as_torchrun_does),
        ("infonce", "upper", as_torchrun_does),
        ("infonce", "full", as_torchrun_does),
    ],
)
def test_two_processes_train_what_one_does(
    warm_python: Any,
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    name: str,
    method: str,
    launch: Callable[[Any, Arguments], Outcome],
) -> None:
    recipe = tmp_path / "tiny.toml"
    loss, optimizer = LOSSES[name]
    text = RECIPE.format(model=tiny_model, data=tiny_data, loss=loss, optimizer=optimizer)
    recipe.write_text(f"{METHODS[method]}\n{text}")
    entries = []
    for processes, start in ((1, in_one), (2, launch)):
        assert train(start, warm_python, recipe, tmp_path / f"on-{processes}") == str(processes)
        lines = (tmp_path / f"on-{processes}" / "metrics.jsonl").read_text().splitlines()
        entries.append([json.loads(line) for line in lines])
    one, two = entries
    assert len(one) == len(two) > 6
    for alone, together in zip(one, two, strict=True):
        key = "loss" if alone["kind"] == "step" else "mean_loss"
        assert together[key] == pytest.approx(alone[key], abs=2e-5)
    weights = "model/model.safetensors" if method == "full" else "adapter/adapter_model.safetensors"
    alone, together = load_file(tmp_path / "on-1" / weights), load_file(tmp_path / "on-2" / weights)
    for tensor, value in alone.items():
        torch.testing.assert_close(together[tensor], value, atol=2e-4, rtol=1e-3)

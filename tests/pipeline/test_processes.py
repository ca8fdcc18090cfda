"""The same run on one and on two processes: the same losses, the same weights within float tolerance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trident.server import free_ports

RECIPE = """
base_model = "{model}"
data = {{ pairs = "{data}/pairs.csv", validation_share = 0.2, test_share = 0.3 }}
text = {{ query_max_tokens = 16, product_max_tokens = 32 }}
loss = {{ {loss} }}
optimizer = {{ epochs = 2, batch_size = 12, learning_rate = 5e-3{optimizer} }}
"""
LOSSES = {
    "cosine": ('name = "cosine"', ""),
    "infonce": ('name = "infonce", cosent_weight = 0.1', ", gradient_accumulation = 2, gradient_checkpointing = true"),
}


def train(recipe: Path, out: Path, *, processes: int) -> None:
    """Run ``trident train`` in a number of processes, as torchrun starts them."""
    launcher = ["-m", "trident"]
    if processes > 1:
        port = free_ports(1)[0]
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}", *launcher]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    outcome = subprocess.run(
        [sys.executable, *launcher, "train", str(recipe), "--out", str(out), "--allow-worse", "--json"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["environment"]["processes"] == str(processes)  # one document, of the first one


@pytest.mark.parametrize(("name", "method"), [("cosine", "lora"), ("infonce", "lora"), ("infonce", "full")])
def test_two_processes_train_what_one_does(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, name: str, method: str
) -> None:
    recipe = tmp_path / "tiny.toml"
    loss, optimizer = LOSSES[name]
    text = RECIPE.format(model=tiny_model, data=tiny_data, loss=loss, optimizer=optimizer)
    recipe.write_text(f'method = "{method}"\n{text}')
    entries = []
    for processes in (1, 2):
        train(recipe, tmp_path / f"on-{processes}", processes=processes)
        lines = (tmp_path / f"on-{processes}" / "metrics.jsonl").read_text().splitlines()
        entries.append([json.loads(line) for line in lines])
    one, two = entries
    assert len(one) == len(two) > 6
    for alone, together in zip(one, two, strict=True):
        key = "loss" if alone["kind"] == "step" else "mean_loss"
        assert together[key] == pytest.approx(alone[key], abs=2e-5)
    weights = "adapter/adapter_model.safetensors" if method == "lora" else "model/model.safetensors"
    alone, together = load_file(tmp_path / "on-1" / weights), load_file(tmp_path / "on-2" / weights)
    for tensor, value in alone.items():
        torch.testing.assert_close(together[tensor], value, atol=2e-4, rtol=1e-3)

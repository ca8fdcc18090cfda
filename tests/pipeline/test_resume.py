"""A run that was killed goes on exactly where it was; checkpoints are whole, checked, and never lost to a full disk."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from trident.errors import TridentError
from trident_train.loop.checkpoints import Checkpoint, CheckpointFolder
from trident_train.loop.loop import Step
from trident_train.recipe import CheckpointRecipe, LoraRecipe, OptimizerRecipe, TrainRecipe
from trident_train.run import Event, train

RECIPE = """
base_model = "{model}"
data = {{ pairs = "{data}/pairs.csv", validation_share = 0.2, test_share = 0.3 }}
text = {{ query_max_tokens = 16, product_max_tokens = 32 }}
lora = {{ dropout = 0.1 }}
optimizer = {{ epochs = 12, batch_size = 8, learning_rate = 1e-2, warmup_share = 0.1 }}
checkpoint = {{ every_steps = 4 }}
"""
WEIGHTS = "adapter/adapter_model.safetensors"
IDENTITY = {"recipe": "a", "data": "b"}
FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from trident.errors import TridentError
from trident_train.loop.checkpoints import Checkpoint, CheckpointFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints = CheckpointFolder(Path(sys.argv[1]))
checkpoints.open({"recipe": "a", "data": "b"}, restart=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(Checkpoint(2, {"now/w": torch.full((100_000,), 2.0)}, {"step": 2}))
except TridentError as error:
    sys.exit(f"refused: {error}")
"""


class StoppedError(Exception):
    """Stands for the end of a process."""


def test_kill_9_in_the_middle_of_an_epoch_changes_no_bit(
    warm_python: Any, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(model=tiny_model, data=tiny_data))
    out, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    checkpoints = tmp_path / "runs" / ".killed.checkpoints"
    command = ("-m", "trident", "train", recipe, "--json", "--out")
    process = warm_python.start(*command, out)
    deadline = time.monotonic() + 120
    while len(steps(checkpoints / "metrics.jsonl")) < 43:  # 18 steps an epoch: in the third
        assert time.monotonic() < deadline, "the run ended, or stands still"
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    assert warm_python.finish(process).returncode == -signal.SIGKILL
    assert not out.exists()
    again, once = warm_python.run(*command, out), warm_python.run(*command, whole)
    assert (again.returncode, once.returncode) == (0, 0), again.stderr + once.stderr
    assert "going on from step" in again.stderr
    resumed, uninterrupted = json.loads(again.stdout), json.loads(once.stdout)
    assert resumed["resumed_from_step"] >= 40
    assert resumed["resumed_from_step"] % 18 != 0
    assert uninterrupted["resumed_from_step"] is None
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert steps(out / "metrics.jsonl") == steps(whole / "metrics.jsonl")
    assert resumed["test"] == uninterrupted["test"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["killed", "whole"]


def steps(path: Path) -> list[dict[str, float]]:
    """Return the steps of a metrics file in which the last line may be half written."""
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [entry for entry in map(json.loads, lines) if entry["kind"] == "step"]


@pytest.fixture
def interrupted(tiny_recipe: TrainRecipe, tmp_path: Path) -> TrainRecipe:
    """Return a recipe whose run into ``tmp_path / "run"`` was interrupted at step 7 of 18, with checkpoints 3 and 6."""
    recipe = dataclasses.replace(
        tiny_recipe,
        lora=LoraRecipe(dropout=0.1),
        optimizer=OptimizerRecipe(epochs=2, batch_size=16, learning_rate=1e-2),
        checkpoint=CheckpointRecipe(every_steps=3),
    )

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 7:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "run", report=stop)
    assert checkpoint_names(tmp_path) == ["step-00000003", "step-00000006"]
    return recipe


def checkpoint_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".run.checkpoints").glob("step-*"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_named_and_skipped(
    interrupted: TrainRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    newest = tmp_path / ".run.checkpoints" / "step-00000006"
    path = newest / "weights.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:100])
    elif damage == "flipped":
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING, logger="trident_train"):
        report = train(interrupted, tmp_path / "run")
    assert f"checkpoint {newest} is damaged and skipped: " in caplog.text
    assert report.resumed_from_step == 3
    train(interrupted, tmp_path / "whole")
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_checkpoints_of_another_run_are_refused_until_thrown_away(interrupted: TrainRecipe, tmp_path: Path) -> None:
    other = dataclasses.replace(interrupted, seed=7)
    with pytest.raises(TridentError, match=r"interrupted run with another recipe: .* or add --restart"):
        train(other, tmp_path / "run")
    assert len(checkpoint_names(tmp_path)) == 2
    assert train(other, tmp_path / "run", restart=True).resumed_from_step is None
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_last_ones_are_kept_and_come_back_as_they_were(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    assert checkpoints.open(IDENTITY, restart=False) is None
    for step in (1, 2, 3):
        checkpoints.save(Checkpoint(step, {"now/w": torch.tensor([float(step)])}, {"losses": [0.5] * step}))
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*")) == ["step-00000002", "step-00000003"]
    newest = checkpoints.open(IDENTITY, restart=False)
    assert newest is not None
    assert (newest.step, newest.tensors["now/w"].item(), newest.state) == (3, 3.0, {"losses": [0.5] * 3})


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints = CheckpointFolder(folder)
    checkpoints.open(IDENTITY, restart=False)
    checkpoints.save(Checkpoint(1, {"now/w": torch.ones(10)}, {"step": 1}))
    outcome = subprocess.run([sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"refused: checkpoint {folder}/step-00000002 could not be written (")
    assert f"{folder}/step-00000001 is whole: free space and run the same command again" in outcome.stderr
    left = checkpoints.open(IDENTITY, restart=False)
    assert left is not None
    assert left.step == 1
    assert sorted(path.name for path in folder.iterdir()) == ["identity.json", "step-00000001"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TridentError, match="cannot be written: Not a directory"):
        CheckpointFolder(tmp_path / "file" / "checkpoints").open(IDENTITY, restart=False)

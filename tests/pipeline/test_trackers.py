"""Trackers write what metrics.jsonl says, into the run folder and nowhere else, without network or question."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.config import load_recipe
from trident.errors import ConfigError
from trident_train.processes import accelerator_of, start_tracker
from trident_train.recipe import TrainRecipe
from trident_train.run import train

RECIPE = """
base_model = "{model}"
tracker = "{tracker}"
data = {{ pairs = "{data}/pairs.csv", validation_share = 0.2, test_share = 0.3 }}
text = {{ query_max_tokens = 16, product_max_tokens = 32 }}
optimizer = {{ epochs = 1, batch_size = 16, learning_rate = 1e-2 }}
"""
WITHOUT = """
import runpy, sys
sys.modules[sys.argv.pop(1)] = None  # as if it were not installed
runpy.run_module("trident", run_name="__main__")
"""
BLOCK_BYTES = 32768  # of the log format of LevelDB, which W&B's files have after a header of 7 bytes
Scalars = dict[str, list[tuple[int, float]]]


def recorded(run: Path) -> Scalars:
    """Return what metrics.jsonl holds, by the names that trackers give it, each as (step, value)."""
    found: Scalars = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] == "step":
            values = {"train/loss": entry["loss"], "train/learning_rate": entry["learning_rate"]}
        else:
            values = {f"validation/{name}": value for name, value in entry["validation"].items()}
            values["train/mean_loss"] = entry["mean_loss"]
        for name, value in values.items():
            found.setdefault(name, []).append((entry["step"], value))
    return found


def tensorboard_scalars(folder: Path) -> Scalars:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def wandb_records(path: Path) -> list[Any]:
    """Return the records of a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part, records = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while place < len(data):
        if BLOCK_BYTES - place % BLOCK_BYTES < 7:  # too short for a header: filled with zeros
            place += BLOCK_BYTES - place % BLOCK_BYTES
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(part))
            part = b""
    return records


def wandb_scalars(records: list[Any]) -> Scalars:
    found: Scalars = {}
    for record in records:
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                found.setdefault(name, []).append((int(items["_step"]), value))
    return found


def processes_of(text: str) -> list[str]:
    """Return the command lines of living processes that name ``text``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended in between
            continue
        if text in line:
            found.append(line)
    return found


def train_apart(
    tracker: str, model: Path, data: Path, place: Path, *program: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``trident train`` in a process whose home, temporary and working folders lie in ``place``."""
    for name in ("home", "tmp", "work"):
        (place / name).mkdir()
    recipe = place / "recipe.toml"
    recipe.write_text(RECIPE.format(model=model, data=data, tracker=tracker))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "XDG_"))}
    own = {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *(program or ("-m", "trident")), "train", str(recipe), "--out", str(place / "run")],
        cwd=place / "work",
        env=inherited | own | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_tensorboard_reads_back_what_metrics_jsonl_holds(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny_recipe, tracker="tensorboard"), tmp_path / "run")
    found = tensorboard_scalars(tmp_path / "run" / "tracking" / "trident")
    expected = recorded(tmp_path / "run")
    assert len(expected["train/loss"]) == 36
    assert found == {
        name: [(step, float(np.float32(value))) for step, value in values] for name, values in expected.items()
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_tensorboard_forgets_the_steps_that_a_resumed_run_takes_again(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe, tracker="tensorboard")
    for after, losses in ((None, {1: 1.0, 2: 2.0, 3: 3.0}), (1, {2: 20.0})):  # killed at 3, the checkpoint was at 1
        accelerator = accelerator_of(recipe, tracking=tmp_path)
        start_tracker(accelerator, recipe, tracking=tmp_path, after=after)
        for step, loss in losses.items():
            accelerator.log({"train/loss": loss}, step=step)
        accelerator.end_training()
    assert tensorboard_scalars(tmp_path / "trident") == {"train/loss": [(1, 1.0), (2, 20.0)]}


def connections(listener: socket.socket) -> list[bytes]:
    """Return the first words of whoever came by; gRPC clients of other tests look for servers that had this port."""
    found = []
    with suppress(BlockingIOError):
        while True:
            came, _ = listener.accept()
            with came:
                came.settimeout(5)
                with suppress(OSError):
                    found.append(came.recv(100))
    return found


def test_wandb_writes_offline_into_the_run_folder(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # whoever wants the network comes by here
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        network = {"WANDB_BASE_URL": address, "HTTPS_PROXY": address, "HTTP_PROXY": address}
        done = train_apart("wandb", tiny_model, tiny_data, tmp_path, **network)
        listener.setblocking(False)
        assert [said for said in connections(listener) if not said.startswith(b"PRI * HTTP/2")] == []
    assert done.returncode in (0, 1), done.stderr  # 1: one epoch need not help
    assert "wandb:" not in done.stderr + done.stdout  # it starts its lines so
    (folder,) = (tmp_path / "run" / "tracking" / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    records = wandb_records(file)
    assert wandb_scalars(records) == recorded(tmp_path / "run")
    config = {item.key: json.loads(item.value_json) for record in records for item in record.run.config.update}
    config |= {item.key: json.loads(item.value_json) for record in records for item in record.config.update}
    assert config["optimizer.batch_size"] == "16"
    assert config["tracker"] == "wandb"
    assert list((tmp_path / "work").iterdir()) == []
    assert not any((tmp_path / "home" / name).exists() for name in ("wandb", ".netrc", ".config/wandb"))
    deadline = time.monotonic() + 20
    while processes_of(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(str(tmp_path)) == []


def test_an_unknown_tracker_is_refused(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(model=tiny_model, data=tiny_data, tracker="mlflow"))
    with pytest.raises(ConfigError, match="'tracker' must be one of 'none', 'tensorboard', 'wandb', got 'mlflow'"):
        load_recipe(TrainRecipe, recipe)


def test_a_tracker_that_is_not_installed_is_named(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    done = train_apart("wandb", tiny_model, tiny_data, tmp_path, "-c", WITHOUT, "wandb")
    line = "trident: tracker 'wandb' is not installed: run pip install 'trident-search[trackers]'"
    assert (done.returncode, done.stdout, done.stderr.splitlines()[1:]) == (1, "", [line])  # behind what was read
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "recipe.toml", "tmp", "work"]

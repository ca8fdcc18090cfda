"""The speed benchmark runs and its numbers fit together; how fast this machine is, is not asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "training.py"


def test_the_numbers_are_consistent(tiny_model: Path, tiny_data: Path) -> None:
    options = ["--model", tiny_model, "--data", tiny_data / "pairs.csv", "--pairs", "64", "--epochs", "2"]
    options += ["--batch-size", "16", "--block", "2", "--learning-rate", "1e-2", "--precision", "no", "--json"]
    command = [sys.executable, BENCH, *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert done.returncode == (1 if result["missed"] else 0), done.stderr
    assert (result["train_pairs"], result["pairs_seen"], result["blocks"]) == (64, 128, 4)
    original, float32, best = result["rows"][0], result["rows"][1], result["rows"][-1]
    assert original["name"] == "original, float32"
    assert float32["name"] == "ours, float32"
    assert original["tokens"] == 128 * 2 * 70
    assert best["tokens"] == float32["tokens"] < original["tokens"] / 3
    for row in result["rows"]:
        assert row["pairs_per_s"] == pytest.approx(128 / row["seconds"])
        assert row["ratio"] == pytest.approx(original["seconds"] / row["seconds"])
        assert row["ratio_low"] <= row["ratio_high"]
        assert row["roc_auc_difference"] == pytest.approx(row["roc_auc"] - original["roc_auc"])
    # the tiny model drops nothing out: without rounding the ways would be the same
    assert float32["roc_auc"] == pytest.approx(original["roc_auc"], abs=1e-3)
    assert original["roc_auc"] != pytest.approx(result["pretrained_roc_auc"], abs=1e-4)


def test_what_cannot_be_read_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, BENCH, "--model", tiny_model, "--data", tmp_path / "missing.csv"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing.csv" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

"""The bench of the encoder in PyTorch runs whole, here on a CPU and with a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "gpu_encoder.py"


@pytest.mark.usefixtures("perf_analyzer")
def test_each_way_is_measured(tiny_model: Path, tiny_data: Path) -> None:
    options = ["--batches", "1,8", "--clients", "2", "--instances", "1", "--seconds", "0.6", "--json"]
    command = [sys.executable, BENCH, "--queries", tiny_data / "pairs.csv", "--model", tiny_model, *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["way"] for row in rows if "served" in row["way"]] == ["served, 1 instance, 2 clients"]
    assert len(rows) == 9  # two ways, two batches, before and after, and the server
    assert all(row["rows_per_s"] > 0 and 0 < row["p50_ms"] <= row["p99_ms"] for row in rows)

"""The comparison of engines runs what is here, agrees with PyTorch, and names what is not here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

BENCH = Path(__file__).parents[2] / "bench" / "engines.py"
OPTIONS = ("--batches", "1", "8", "--tokens", "16", "--seconds", "0.1")
WAYS = {
    "torch cpu fp32",
    "torch cuda fp16",
    "torch cuda fp16 graphs",
    "onnxruntime cpu fp32",
    "onnxruntime cuda fp16",
    "tensorrt fp16",
    "tensorrt_rtx fp16",
}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCH, *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=250, check=False)


def test_every_way_is_measured_or_named(tiny_model: Path) -> None:
    done = run("--model", tiny_model, *OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    measured = {row["way"] for row in found["rows"]}
    assert measured | set(found["not_here"]) == WAYS
    assert not measured & set(found["not_here"])
    if not torch.cuda.is_available():
        assert measured == {"torch cpu fp32", "onnxruntime cpu fp32"}
        assert found["not_here"]["tensorrt_rtx fp16"] == "no GPU that PyTorch can use"
    assert {(row["rows"], row["tokens"]) for row in found["rows"]} == {(1, 16), (8, 16)}
    assert len(found["rows"]) == 2 * len(measured)
    for row in found["rows"]:
        assert row["milliseconds"] > 0
        assert row["smallest_cosine"] > (0.99999 if "fp32" in row["way"] else 0.99)


LOAD = """
import runpy, sys
from pathlib import Path
bench = runpy.run_path(sys.argv[1])
shapes = [(1, 8), (8, 16)]
print(*bench["make_profiles"](shapes), sep="; ")
try:
    bench["load_plan"]("tensorrt_rtx", Path(sys.argv[2]))
except bench["ExportError"] as error:
    print(error)
"""


def test_each_shape_has_its_profile_and_a_plan_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_bytes(b"no plan")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(BENCH), str(tmp_path / "model.plan")],
        **{"capture_output": True, "text": True, "timeout": 100, "check": False},  # type: ignore[call-overload]
    )
    assert done.stdout.splitlines() == [
        "1x8 1x8 to 1x8; 8x16 8x16 to 8x16",
        "tensorrt_rtx must load the plan that it built, got no engine of model.plan",
    ], done.stderr


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    done = run("--model", tmp_path, *OPTIONS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bench/engines.py: ")
    assert "Traceback" not in done.stderr

"""The comparison of embedding measures what a generation has, and says what it has not; all comparisons in one go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trident.generation.generation import Generation, find_generation

BENCH = Path(__file__).parents[2] / "bench" / "embed.py"


def test_int8_is_named_where_it_was_not_shipped(tiny_generations: Path, tiny_data: Path, tmp_path: Path) -> None:
    found = find_generation(tiny_generations)
    copy = Generation.load(Path(shutil.copytree(found.folder, tmp_path / found.id)))
    copy.graph("int8").unlink()
    options = ("--generation", copy.folder, "--catalogue", tiny_data / "products.csv", "--titles", 32, "--threads", 1)
    command = [sys.executable, str(BENCH), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["ratio"]) == {"trident_fp32"}
    assert document["smallest_cosine"]["trident_fp32"] > 0.9999
    assert f"not here: trident_int8: it was not shipped with generation {found.id}" in done.stderr.splitlines()


def whole(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m bench``."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    options = {"env": os.environ | environment, "cwd": BENCH.parents[1], "timeout": 200, "check": False}
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_the_comparisons_come_as_one_table_of_ratios(tiny_generations: Path, tiny_data: Path, tmp_path: Path) -> None:
    given = ("--generations", tiny_generations, "--catalogue", tiny_data / "products.csv")
    options = ("--pairs", tiny_data / "pairs.csv", "--only", "embedding,serving", "--quick", "--out", tmp_path / "out")
    done = whole(*given, *options, TRIDENT_PERF_ANALYZER="/nowhere")
    assert done.returncode == 1  # one of them has no figures
    head, line, *rows, absent = done.stdout.splitlines()
    assert (head.count("|"), line.count("|")) == (5, 5)
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| embedding", "trident fp32", "sentence-transformers"],
        ["| embedding", "trident int8", "sentence-transformers"],
    ]
    assert all(float(row.split(" | ")[3].rstrip(" |")) > 0 for row in rows)
    assert absent.startswith("not here: serving: trident: no perf_analyzer that runs (from TRIDENT_PERF_ANALYZER): ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--only", "training,driving"),
            "--only must be of training, embedding, engines, serving, layouts, peers, got ",
        ),
        (("--pairs", "pairs.csv"), "--generations, --catalogue and --pairs belong together: give all three, or none"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[str, ...], message: str) -> None:
    done = whole(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]

"""The comparison of embedding measures what a generation has, and says what it has not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trident.generation.generation import Generation, find_generation

BENCH = Path(__file__).parents[2] / "bench" / "embed.py"


@pytest.mark.parametrize("shipped", [True, False])
def test_int8_is_measured_where_it_was_shipped(
    tiny_generations: Path, tiny_data: Path, tmp_path: Path, shipped: bool
) -> None:
    found = find_generation(tiny_generations)
    copy = Generation.load(Path(shutil.copytree(found.folder, tmp_path / found.id)))
    if not shipped:
        copy.graph("int8").unlink()
    options = ("--generation", copy.folder, "--catalogue", tiny_data / "products.csv", "--titles", 32, "--threads", 1)
    command = [sys.executable, str(BENCH), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["ratio"]) == {"trident_fp32", *(["trident_int8"] if shipped else [])}
    assert document["smallest_cosine"]["trident_fp32"] > 0.9999
    line = f"not here: trident_int8: it was not shipped with generation {found.id}"
    assert (line in done.stderr.splitlines()) != shipped

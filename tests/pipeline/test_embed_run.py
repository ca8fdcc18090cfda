"""Embedding in several processes, for an export to take over: the same vectors, and none of anything else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.errors import ExportError, ModelError
from trident.generation.generation import Generation, find_generation
from trident.server.server import free_ports
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation


def embed(run: Path, data: Path, out: Path) -> tuple[str, ...]:
    """Return the arguments of ``trident embed``."""
    return ("-m", "trident", "embed", str(run), "--catalogue", str(data / "products.csv"), "--out", str(out), "--json")


@pytest.fixture(scope="module")
def vectors(tiny_run: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_ports(1)[0]}")
    outcome = subprocess.run(
        [sys.executable, *launcher, *embed(tiny_run, tiny_data, folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )
    assert outcome.returncode == 0, outcome.stderr
    record: dict[str, object] = json.loads(outcome.stdout)  # one document, of the first process
    assert (record["processes"], record["products"], record["device"]) == (2, 144, "cpu")
    return folder


@pytest.fixture
def changed(vectors: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(vectors, tmp_path / "changed"))


def export(run: Path, catalogue: Path, output: Path, vectors: Path) -> Generation:
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    return export_generation(ExportOrder(run, catalogue, output, config, vectors=vectors))


def test_two_processes_embed_what_one_does(
    tiny_run: Path, tiny_data: Path, vectors: Path, tmp_path: Path, warm_python: Any
) -> None:
    outcome = warm_python.run(*embed(tiny_run, tiny_data, tmp_path / "one"), ACCELERATE_USE_CPU="true")
    assert outcome.returncode == 0, outcome.stderr
    one, two = np.load(tmp_path / "one" / "vectors.npy"), np.load(vectors / "vectors.npy")
    assert one.shape == (144, 32)
    np.testing.assert_allclose(two, one, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(two, axis=1), 1, atol=1e-5)
    assert sorted(path.name for path in vectors.iterdir()) == [
        "embeddings.json", "progress.0.json", "progress.1.json", "vectors.npy",
    ]  # fmt: skip


def test_an_export_takes_them_over(
    tiny_run: Path, tiny_data: Path, vectors: Path, tmp_path: Path, tiny_generations: Path
) -> None:
    made = export(tiny_run, tiny_data / "products.csv", tmp_path / "g", vectors)
    made.verify_files()
    (row,) = [row for row in made.manifest.stages if row["stage"] == "catalogue"]
    assert row["proof"] == f"144 embeddings of {vectors}, some held against the graph"
    answers = [
        json.loads((one.folder / "golden.json").read_text()) for one in (made, find_generation(tiny_generations))
    ]
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-5)


def test_others_are_refused(tiny_run: Path, tiny_data: Path, changed: Path, tmp_path: Path) -> None:
    catalogue, output = tiny_data / "products.csv", tmp_path / "g"
    with pytest.raises(ModelError, match=r"none holds no embeddings: .*; make them with trident embed"):
        export(tiny_run, catalogue, output, tmp_path / "none")
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(catalogue.read_text().splitlines(keepends=True)[:50]))
    with pytest.raises(ExportError, match=r"must be of this catalogue's 49 titles, got 144 of another"):
        export(tiny_run, fewer, output, changed)
    values = np.load(changed / "vectors.npy")
    np.save(changed / "vectors.npy", values[::-1])
    with pytest.raises(
        ExportError, match=r"must equal the graph's with a cosine of at least 0\.9999, got .*: embed again"
    ):
        export(tiny_run, catalogue, output, changed)
    record = json.loads((changed / "embeddings.json").read_text())
    (changed / "embeddings.json").write_text(json.dumps({**record, "encoder_fingerprint": "0" * 64}))
    with pytest.raises(
        ExportError, match=r"must be of encoder \w{12}, got 000000000000: run trident embed with this run"
    ):
        export(tiny_run, catalogue, output, changed)
    assert not output.exists()

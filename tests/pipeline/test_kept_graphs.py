"""The graph of an encoder that was exported before is taken from the cache: the same bytes, or it is made again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trident.generation.generation import Generation
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.graphs import kept
from trident_export.graphs.kept import graph_key, graphs_folder, keep_graph, take_graph
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

NODES = "nodes, opset 18"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of kept graphs, which holds none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return graphs_folder()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "made.onnx"
    path.write_bytes(content)
    return path


def test_the_next_export_of_an_encoder_takes_its_graph(
    cache: Path, generation: Generation, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join((tiny_data / "products.csv").read_text().splitlines(keepends=True)[:50]))
    made = [
        export_generation(ExportOrder(tiny_run, catalogue, tmp_path / catalogue.stem, config))
        for catalogue in (tiny_data / "products.csv", fewer)
    ]
    first, second = ({row["stage"]: row["proof"] for row in each.manifest.stages} for each in made)
    nodes = first["onnx"].removeprefix("checked, ")
    assert nodes.endswith(NODES)
    assert second["onnx"] == f"as an earlier export made it, {nodes}"
    assert second["parity"].startswith("cosine to PyTorch >= 0.99999")  # it was proven again
    assert made[0].manifest.parts["onnx/fp32"] == made[1].manifest.parts["onnx/fp32"]
    (folder,) = cache.iterdir()
    assert folder.name == graph_key(generation.manifest.encoder_fingerprint)


def test_a_damaged_one_is_not_taken(cache: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    assert not take_graph("ab", output)
    keep_graph("ab", written(tmp_path, b"a graph"))
    assert take_graph("ab", output)
    assert output.read_bytes() == b"a graph"
    (cache / "ab" / "model.onnx").write_bytes(b"a grape")
    assert not take_graph("ab", output)
    assert not output.exists()
    keep_graph("ab", written(tmp_path, b"a graph"))
    (cache / "ab" / "sha256").unlink()
    assert not take_graph("ab", output)


def test_those_that_were_not_used_for_longest_go(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BUDGET_BYTES", 3 * 1064)  # with the hash beside each
    for number, key in enumerate(("aa", "bb", "cc")):
        keep_graph(key, written(tmp_path, bytes(1000)))
        os.utime(cache / key, (number, number))
    assert take_graph("aa", tmp_path / "model.onnx")  # used now
    keep_graph("dd", written(tmp_path, bytes(1000)))
    assert sorted(folder.name for folder in cache.iterdir()) == ["aa", "cc", "dd"]


def test_large_ones_are_not_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made.onnx.data").write_bytes(b"weights")
    keep_graph("aa", written(tmp_path, b"a graph"))
    (tmp_path / "made.onnx.data").unlink()
    monkeypatch.setattr(kept, "LARGEST_BYTES", 6)
    keep_graph("aa", written(tmp_path, b"a graph"))
    assert not cache.exists()


def test_an_export_needs_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(written(tmp_path, b"no folder")))
    keep_graph("aa", tmp_path / "made.onnx")
    assert not take_graph("aa", tmp_path / "model.onnx")


def test_another_encoder_library_or_conversion_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = graph_key("ab" * 32)
    assert len(key) == 64
    assert graph_key("ab" * 32) == key != graph_key("ac" * 32)
    assert graph_key("ab" * 32, "reranker") != key
    monkeypatch.setattr(kept, "MADE_BY", ("torch",))
    assert graph_key("ab" * 32) != key

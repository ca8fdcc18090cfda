"""An export whose products are in a store: loaded by the command line, it answers its golden queries."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trident.cluster.filling import load_generation
from trident.cluster.loaded import remove_collections
from trident.cluster.store import Store, store_of
from trident.errors import GenerationError
from trident.generation.generation import Generation
from trident.retrieval.opened import open_retriever
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_store_is_part_of_a_generation(
    tiny_run: Path, tiny_data: Path, generation: Generation, stand_in: Any, run_warm: Run, tmp_path: Path
) -> None:
    store = Store(address=stand_in.address, timeout_s=30.0)
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()), store=store)
    made = export_generation(ExportOrder(tiny_run, tiny_data / "products.csv", tmp_path, config))
    assert store_of(made) == store
    assert made.manifest.parts["store"] == "qdrant"
    assert made.manifest.encoder_fingerprint == generation.manifest.encoder_fingerprint
    searcher = Searcher.load(made)
    assert not searcher.retriever.index.has_graph
    with pytest.raises(GenerationError, match=r"is searched in its own files: export it with --store ADDRESS to load"):
        load_generation(generation)

    done = run_warm("cluster", "status", "--generations", tmp_path, "--json")
    assert json.loads(done.stdout)["generations"][0]["state"] == "not loaded"
    refused = run_warm("serve", "--generations", tmp_path)
    assert refused.returncode == 1
    assert f"got 0: trident cluster load {made.id}" in refused.stderr
    assert run_warm("cluster", "load", "--generations", tmp_path, "--batch", "0").returncode == 2
    done = run_warm("cluster", "load", made.id, "--generations", tmp_path, "--batch", "50", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recall"]["plain"] == 1.0
    done = run_warm("cluster", "load", "--generations", tmp_path)
    assert "was there already" in done.stderr
    done = run_warm("cluster", "status", "--generations", tmp_path)
    assert "complete" in done.stdout

    reader = open_retriever(made.version_folder("retriever"))
    answers = made.golden()
    hits = reader.retrieve(
        searcher.embed([answer.query for answer in answers]),
        [SearchKnobs()] * len(answers),
        of_base=[True] * len(answers),
    )
    for row, answer in enumerate(answers):
        assert [each.decode() for each in hits.product_ids[row, : hits.counts[row, 0]]] == answer.product_ids
        assert hits.scores[row, : len(answer.scores)] == pytest.approx(answer.scores, abs=1e-5)
    reader.close()
    assert remove_collections([made, generation]) == [f"trident-{made.id}", f"trident-{made.id}-golden"]

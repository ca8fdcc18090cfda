"""Which servers a generation with a second stage refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trident.errors import GenerationError
from trident.generation.generation import Generation, Identity, Manifest
from trident.server.second_stage import environment, require_second_stage

IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint="a" * 64)


def generation(folder: Path, identity: Identity) -> Generation:
    manifest = Manifest(
        id=identity.id, serial=3, created_at="", encoder_fingerprint="a" * 64, parts={}, parents={}, text={}, index={},
        products=1, stages=[], quality={}, versions={},
    )  # fmt: skip
    found = Generation(folder, manifest)
    found.version_folder("pipeline").mkdir(parents=True, exist_ok=True)
    identity.save(found.version_folder("pipeline"))
    return found


def test_a_second_stage_by_default_needs_the_one_process(tmp_path: Path) -> None:
    found = generation(tmp_path, replace(IDENTITY, reranker="b" * 64, rerank=20))
    require_second_stage(found, variant="cpu", cache=True)
    with pytest.raises(GenerationError, match="reranks 20 candidates by default, which only --variant cpu does, got"):
        require_second_stage(found, variant="stages", cache=False)
    require_second_stage(generation(tmp_path, replace(IDENTITY, reranker="b" * 64)), variant="stages", cache=True)


def test_a_budget_and_a_cache_exclude_each_other(tmp_path: Path) -> None:
    found = generation(tmp_path, replace(IDENTITY, reranker="b" * 64, rerank=20, rerank_budget_ms=15.0))
    require_second_stage(found, variant="cpu", cache=False)
    with pytest.raises(GenerationError, match="has a budget of 15 ms for its second stage, which --cache excludes"):
        require_second_stage(found, variant="cpu", cache=True)
    assert environment(cache=True) != environment(cache=False)

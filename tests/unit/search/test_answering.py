"""Requests of a batch are answered together as they would be alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trident.errors import GenerationError
from trident.generation.generation import Identity, find_generation
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Hits
from trident.search.answering import Asked, answer_together
from trident.search.searcher import Searcher

REQUESTS = [
    Asked([("crimson kettle", "query"), ("navy sofa", "query")], [SearchKnobs(k=3), SearchKnobs(k=7)]),
    Asked([("Alba sofa red", "product")], [SearchKnobs()], wants_products=False),
    Asked([("navy sofa", "query")], [SearchKnobs(k=2, min_score=1.0)], is_live=False),
]


@pytest.fixture
def searcher(tiny_generations: Path) -> Searcher:
    return Searcher.load(find_generation(tiny_generations))


def nobody(*_: Any) -> None:
    """Watch nothing."""


def test_together_as_alone(searcher: Searcher) -> None:
    together = answer_together(searcher, REQUESTS, nobody, threads=2)
    for asked, found in zip(REQUESTS, together, strict=True):
        (alone,) = answer_together(searcher, [asked], nobody)
        np.testing.assert_allclose(found.embeddings, alone.embeddings, atol=1e-5)
        assert found.embeddings.shape == (len(asked.texts), searcher.encoder.dimension)
        if not asked.wants_products:
            assert found.hits is None is alone.hits
            continue
        assert found.hits is not None
        assert alone.hits is not None
        assert found.hits.product_ids.tolist() == alone.hits.product_ids.tolist()
        assert found.hits.scores.shape == (len(asked.texts), max(knob.k for knob in asked.knobs))
    np.testing.assert_allclose(
        together[1].embeddings, searcher.embed(["Alba sofa red"], "product"), atol=1e-5
    )  # each of its own side
    assert together[0].hits is not None
    assert together[0].hits.counts.tolist() == [[3], [7]]


def test_a_batch_that_was_rejected_as_a_whole(searcher: Searcher) -> None:
    assert answer_together(searcher, [], nobody) == []


def test_what_was_searched_is_watched_at_once(searcher: Searcher) -> None:
    seen: list[tuple[Any, ...]] = []
    answer_together(searcher, REQUESTS, lambda *seen_now: seen.append(seen_now))
    ((embeddings, knobs, hits, live),) = seen
    assert embeddings.shape == (3, searcher.encoder.dimension)
    assert [knob.k for knob in knobs] == [3, 7, 2]
    assert live == [True, True, False]
    assert hits.counts.tolist() == [[3], [7], [0]]
    answer_together(searcher, REQUESTS[1:2], lambda *seen_now: seen.append(seen_now))
    assert len(seen) == 1  # nothing was searched


class Cutting:
    """A second stage that leaves the last product out."""

    reranker = SimpleNamespace(now=lambda: 0.0)

    def widened(self, knobs: list[SearchKnobs]) -> list[SearchKnobs]:
        return [replace(knob, k=knob.k + 5) for knob in knobs]

    def reranked(self, queries: list[str], knobs: list[SearchKnobs], hits: Hits, **_: Any) -> Hits:
        counts = np.array([[knob.k - 1] for knob in knobs], dtype=np.int32)
        return replace(hits.rows(0, len(knobs), max(knob.k for knob in knobs)), counts=counts)


def test_what_is_watched_is_what_is_answered(searcher: Searcher) -> None:
    """Behind a second stage too: what it leaves out is not found, and another page's best is not this one's."""
    seen: list[tuple[Any, ...]] = []
    (searched,) = answer_together(
        replace(searcher, second_stage=Cutting()), REQUESTS[:1], lambda *seen_now: seen.append(seen_now)
    )
    ((_, knobs, hits, _),) = seen
    assert [knob.k for knob in knobs] == [3, 7]
    assert searched.hits is not None
    assert hits.counts.tolist() == searched.hits.counts.tolist() == [[2], [6]]
    assert hits.scores.shape == (2, 7)


def test_who_asks_is_told_how_long_the_stages_of_the_batch_took(searcher: Searcher) -> None:
    timed = [SearchKnobs(k=3, timed_for="of-the-client"), SearchKnobs(k=7)]
    requests = [replace(REQUESTS[0], knobs=timed), *REQUESTS[1:]]
    plain, told = answer_together(searcher, REQUESTS, nobody), answer_together(searcher, requests, nobody)
    assert told[0].hits is not None
    assert plain[0].hits is not None
    assert told[0].hits.product_ids.tolist() == plain[0].hits.product_ids.tolist()
    details = json.loads(told[0].hits.details[0, 0])
    assert details.pop("timings_of") == "of-the-client"
    timings = details.pop("timings_ms")
    assert next(iter(timings)) == "spelling"
    assert {"tokenize", "encode", "dense"} <= timings.keys()
    assert timings["encode"] > 0
    assert list(timings)[-1] == "rest"
    assert details == json.loads(plain[0].hits.details[0, 0])
    assert told[0].hits.details[1, 0] == plain[0].hits.details[1, 0]  # whose query does not ask


def test_parts_of_two_generations_are_refused(tiny_generations: Path, tmp_path: Path) -> None:
    generation = find_generation(tiny_generations)
    models = Path(shutil.copytree(generation.repository, tmp_path / "models"))
    identity = Identity.load(generation.version_folder("pipeline"))
    assert Searcher.load_parts(models, identity).encoder.path.name == "model.unpadded.onnx"
    path = models / "retriever" / str(generation.serial) / "generation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": "0" * 16}))
    with pytest.raises(GenerationError, match=rf"must be of generation {generation.id} .*, got {'0' * 16} "):
        Searcher.load_parts(models, identity)

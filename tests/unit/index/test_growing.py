"""Vectors that grow: whichever way compares them, the answer is that of comparing each by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trident.index import growing
from trident.index.growing import Chosen, GrowingVectors
from trident.index.kernels import kernels

SEGMENT, STEP, DIMENSION = 64, 16, 24


def unit(draw, *shape):
    vectors = draw.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def written(monkeypatch):
    """Return 300 vectors that lie apart, as in the file; some are equal, in and across segments."""
    monkeypatch.setattr(growing, "SEGMENT", SEGMENT)
    monkeypatch.setattr(growing, "STEP", STEP)
    vectors = unit(np.random.default_rng(4), 300, DIMENSION)
    vectors[[7, 70, 71, 299]] = vectors[3]
    apart = np.zeros(300, dtype=[("head", "V12"), ("vector", "<f4", (DIMENSION,))])
    apart["vector"] = vectors
    return apart["vector"]


def by_hand(vectors, queries, rows, k):
    scores = queries.astype(np.float64) @ vectors[rows].astype(np.float64).T
    places = np.array([np.lexsort((np.arange(len(rows)), -np.round(line, 6)))[:k] for line in scores])
    return places, np.take_along_axis(scores, places, axis=1)


@pytest.mark.parametrize("prepared", [0, 15, 40, 64, 200, 300])
@pytest.mark.parametrize("chosen", ["all", "few", "one segment", "twice"])
def test_the_best_are_those_of_comparing_each(written, prepared, chosen):
    draw = np.random.default_rng(prepared)
    rows = {
        "all": np.arange(300),
        "few": draw.choice(300, 12, replace=False),
        "one segment": draw.permutation(np.arange(64, 128)),
        "twice": draw.integers(0, 300, 500),  # products of the same title
    }[chosen].astype(np.int64)
    vectors = GrowingVectors(written)
    for upto in range(0, prepared + 1, 9):
        vectors.prepare(upto)
    vectors.prepare(prepared)
    assert encoded(vectors) == (prepared // STEP * STEP if kernels() is not None else 0)
    queries = np.concatenate([unit(draw, 5, DIMENSION), written[3][None]])
    for k in (1, 10, 1000):
        places, scores = vectors.nearest(queries, Chosen.of(rows), k)
        expected, cosines = by_hand(written, queries, rows, k)
        assert places.shape == expected.shape
        assert np.allclose(scores, cosines, atol=1e-6)
        assert (places == expected).mean() > 0.99 if k == 1000 else (places == expected).all()


def test_full_segments_are_made_once(written):
    vectors = GrowingVectors(written)
    vectors.prepare(100)
    first = vectors._segments
    vectors.prepare(160)
    vectors.prepare(160)
    assert vectors._segments[:1] == first[:1]
    assert encoded(vectors) == (160 if kernels() is not None else 0)


def encoded(vectors):
    return sum(len(each.vectors) for each in vectors._segments)

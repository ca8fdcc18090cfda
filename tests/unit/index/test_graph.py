"""What the graph holds, beside what is found by it (test_index, test_search_ways)."""

from __future__ import annotations

import numpy as np
import pytest

from trident.index.codes import encode
from trident.index.graph import Graph, IndexConfig, build_graph

NO_LINK = 2**32 - 1


def crowd_and_strangers(crowd: int, strangers: int, dimension: int, spread: float, seed: int) -> np.ndarray:
    """Return unit vectors of which most stand close together, and the rest outside: nobody's nearest."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=dimension)
    length = float(np.linalg.norm(middle))
    near = middle + spread * length * rng.normal(size=(crowd, dimension))
    far = middle + 0.7 * length * rng.normal(size=(strangers, dimension))
    vectors = np.concatenate([near, far]).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reached(graph: Graph) -> int:
    """Return how many vectors a walk of the lowest layer can come to from its entry."""
    seen = np.zeros(len(graph.lowest), dtype=bool)
    ahead = np.array([graph.upper[graph.upper_entry, 0] if len(graph.upper) else graph.entry], dtype=np.int64)
    while len(ahead):
        seen[ahead] = True
        links = np.unique(graph.lowest[ahead])
        links = links[links != NO_LINK].astype(np.int64)
        ahead = links[~seen[links]]
    return int(seen.sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("crowd", "strangers", "dimension", "m", "ef", "spread"),
    [(300, 60, 16, 2, 4, 0.05), (500, 200, 8, 2, 50, 0.01), (400, 100, 32, 3, 4, 0.05)],
)
def test_every_vector_has_a_link_to_it(crowd, strangers, dimension, m, ef, spread, seed):
    """Where rows are full as well: one of half a million names was missed (2026-12-01)."""
    vectors = crowd_and_strangers(crowd, strangers, dimension, spread, seed)
    graph = build_graph(encode(vectors), IndexConfig(m=m, ef_construction=ef), threads=1)
    linked = np.unique(graph.lowest[graph.lowest != NO_LINK])
    assert len(linked) == len(vectors)
    assert ((graph.lowest != NO_LINK).sum(axis=1) > 0).all()


def test_a_walk_comes_to_every_vector():
    vectors = crowd_and_strangers(2000, 400, 32, 0.05, seed=4)
    graph = build_graph(encode(vectors), IndexConfig(m=8, ef_construction=100), threads=1)
    assert reached(graph) == len(vectors)

"""The nearest of the products that pass a filter: the one place that knows how an index is asked for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Rows
from trident.index.exact_search import Neighbours
from trident.index.index import Permitted, VectorIndex
from trident.index.ways import Way as IndexWay

<<<<<<< HEAD
Way = IndexWay | Literal["browse"]  # the index's ways, or no vector at all
WAYS: tuple[Way, ...] = (*get_args(IndexWay), "browse")
=======
Way = Literal["all", "gathered", "graph", "browse"]
# All vectors are compared; those that pass; a walk through the graph; no vector at all.
WAYS: tuple[Way, ...] = ("all", "gathered", "graph", "browse")
GATHER_UP_TO = 0.25  # of the products: of more, all are compared and the survivors' scores taken
BLOCK = 2**14  # vectors gathered at a time
>>>>>>> f31-attributes


@dataclass(frozen=True, eq=False)
class Found:
    """Rows of one query, best first, their cosines, and the way that found them."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    way: Way


<<<<<<< HEAD
=======
def way_of(index: VectorIndex, ef: int | None) -> Way:
    """Return how an index answers what has no filter."""
    return "all" if index.flat is not None and ef is None else "graph"


>>>>>>> f31-attributes
def nearest_permitted(
    index: VectorIndex, query: NDArray[np.float32], k: int, ef: int | None, permitted: Rows | None, *, threads: int = 1
) -> Found:
    """Return the k products nearest to a query among those that are permitted; fewer where there are fewer.

    Args:
        index: Over all products.
        query: (1, D) float32, unit length.
        k: Products, >= 1.
        ef: Search effort; None: the index's own.
        permitted: Ascending rows; None: all.
        threads: Of the search in the graph.
    """
<<<<<<< HEAD
    which = None if permitted is None else Permitted(permitted)
    found = index.search(query, k, ef=ef, permitted=which, threads=threads)
    return Found(*_first(found), index.way(ef, which))
=======
    if permitted is None:
        found = index.search(query, k, ef=ef, threads=threads)
        count = int(found.count[0])
        return Found(found.rows[0, :count], found.scores[0, :count], way_of(index, ef))
    is_wide = len(permitted) > GATHER_UP_TO * index.count
    return Found(*exact_among(index, query, k, permitted), "all" if is_wide else "gathered")
>>>>>>> f31-attributes


def exact_among(
    index: VectorIndex, query: NDArray[np.float32], k: int, permitted: Rows
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return rows and cosines of the k nearest among some rows, by comparing each; ties by row."""
<<<<<<< HEAD
    return _first(index.search_exactly(query, k, permitted=Permitted(permitted)))


def _first(found: Neighbours) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what the first query found, without the places that are empty."""
    count = int(found.count[0])
    return found.rows[0, :count], found.scores[0, :count]
=======
    if not len(permitted):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    vectors, labels = index.different_vectors, index.label_of_row[permitted]
    if len(labels) > GATHER_UP_TO * index.count:
        scores = (vectors @ query[0])[labels]
    else:
        blocks = [vectors[labels[start : start + BLOCK]] @ query[0] for start in range(0, len(labels), BLOCK)]
        scores = np.concatenate(blocks)
    k = min(k, len(labels))
    lowest = np.partition(scores, len(scores) - k)[len(scores) - k] - TIE_TOLERANCE
    candidates = np.flatnonzero(scores >= lowest)
    cosines = cosines_of_pairs(vectors, labels[candidates], query, np.zeros_like(candidates))
    order = np.lexsort((candidates, -cosines))[:k]
    return permitted[candidates[order]].astype(np.int64), cosines[order]
>>>>>>> f31-attributes

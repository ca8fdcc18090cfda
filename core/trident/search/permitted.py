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

Way = IndexWay | Literal["browse", "lexical"]  # the index's ways, no query at all, or words alone
WAYS: tuple[Way, ...] = (*get_args(IndexWay), "browse", "lexical")


@dataclass(frozen=True, eq=False)
class Found:
    """Rows of one query, best first, their cosines, and the way that found them."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    way: Way


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
    which = None if permitted is None else Permitted(permitted)
    found = index.search(query, k, ef=ef, permitted=which, threads=threads)
    return Found(*_first(found), index.way(ef, which))


def exact_among(
    index: VectorIndex, query: NDArray[np.float32], k: int, permitted: Rows
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return rows and cosines of the k nearest among some rows, by comparing each; ties by row."""
    return _first(index.search_exactly(query, k, permitted=Permitted(permitted)))


def _first(found: Neighbours) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what the first query found, without the places that are empty."""
    count = int(found.count[0])
    return found.rows[0, :count], found.scores[0, :count]

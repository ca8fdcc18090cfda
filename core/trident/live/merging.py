"""Nearest products of a snapshot: the base's index without what is gone, and the tail, which is searched exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Rows
from trident.index.growing import Chosen, GrowingVectors
from trident.index.index import Neighbours, VectorIndex
from trident.index.permitted import Permitted
from trident.live.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Searched:
    """What is searched: a snapshot, the base's index, and the vectors that the tail's rows are of."""

    snapshot: Snapshot
    index: VectorIndex
    vectors: GrowingVectors


@dataclass(frozen=True, eq=False)
class Answerable:
    """Rows that may be answered.

    Attributes:
        of_base: None: all.
        tail: Places, ascending, (T,).
    """

    of_base: Permitted | None
    tail: NDArray[np.int64]

    @classmethod
    def of(cls, snapshot: Snapshot, rows: Rows | None) -> Answerable:
        """Return rows of a snapshot, ascending; None: all that hold a product."""
        if rows is None or len(rows) == snapshot.count:
            return cls(snapshot.kept, snapshot.tail)
        cut = int(np.searchsorted(rows, snapshot.base_count))
        return cls(Permitted(rows[:cut]), rows[cut:].astype(np.int64) - snapshot.base_count)


def nearest(
    searched: Searched,
    queries: NDArray[np.float32],
    ks: Sequence[int],
    efs: Sequence[int | None],
    *,
    answerable: Answerable | None = None,
    threads: int = 1,
) -> Neighbours:
    """Return ``ks[b]`` rows of the snapshot for query b, best first, ties by row; as wide as the largest k.

    Args:
        searched: The snapshot and what its rows are found by.
        queries: (B, D) float32, rows of unit length.
        ks: As for ``VectorIndex.search_each``.
        efs: Likewise.
        answerable: The rows that may be answered; None: all that hold a product.
        threads: Of the search in the graph.

    Raises:
        VectorIndexError: As ``VectorIndex.search_each``.
    """
    rows = Answerable.of(searched.snapshot, None) if answerable is None else answerable
    permitted = None if rows.of_base is None else [rows.of_base] * len(queries)
    of_base = searched.index.search_each(queries, ks, efs, permitted=permitted, threads=threads)
    return _with_tail(searched, rows.tail, queries, ks, of_base)


def nearest_exactly(searched: Searched, queries: NDArray[np.float32], k: int, answerable: Answerable) -> Neighbours:
    """Return what ``nearest`` returns, and raises, where every vector is compared."""
    of_base = searched.index.search_exactly(queries, k, permitted=answerable.of_base)
    return _with_tail(searched, answerable.tail, queries, [k] * len(queries), of_base)


def _with_tail(
    searched: Searched,
    tail: NDArray[np.int64],
    queries: NDArray[np.float32],
    ks: Sequence[int],
    of_base: Neighbours,
) -> Neighbours:
    """Return the best of what was found in the base and of places of the tail."""
    if not len(tail):
        return of_base
    width = max(ks, default=1)
    best, cosines = searched.vectors.nearest(queries, _chosen(searched.snapshot, tail), width)  # (B, up to width)
    places = tail[best]
    rows = np.concatenate([of_base.rows, places + searched.snapshot.base_count], axis=1)
    scores = np.concatenate([of_base.scores, cosines], axis=1)
    order = np.lexsort((rows, np.where(rows >= 0, -scores, np.inf)))[:, :width]
    line = np.arange(len(queries))[:, None]
    rows, scores = rows[line, order], scores[line, order]
    beyond = np.arange(width)[None, :] >= np.array(ks, dtype=np.int64).reshape(-1, 1)
    rows[beyond], scores[beyond] = -1, np.nan
    return Neighbours(rows, scores, (rows >= 0).sum(axis=1).astype(np.int32))


def _chosen(snapshot: Snapshot, tail: NDArray[np.int64]) -> Chosen:
    """Return the vectors of some places of the tail."""
    return snapshot.tail_vectors if tail is snapshot.tail else Chosen.of(snapshot.places.rows[tail])

"""Nearest products of a snapshot: the base's index without what is gone, and the tail, which is searched exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.index.exact_search import TIE_TOLERANCE, cosines_of_pairs
from trident.index.index import Neighbours, VectorIndex
from trident.live.snapshot import Snapshot


@dataclass(frozen=True)
class Searched:
    """What is searched: a snapshot, the base's index, and the vectors (C, D) that the tail's rows are of."""

    snapshot: Snapshot
    index: VectorIndex
    vectors: NDArray[np.float32]


def nearest(
    searched: Searched,
    queries: NDArray[np.float32],
    ks: Sequence[int],
    efs: Sequence[int | None],
    *,
    threads: int = 1,
) -> Neighbours:
    """Return ``ks[b]`` rows of the snapshot for query b, best first, ties by row; as wide as the largest k.

    Args are those of ``VectorIndex.search_each``.

    Raises:
        VectorIndexError: As ``VectorIndex.search_each``.
    """
    snapshot, width = searched.snapshot, max(ks, default=1)
    if snapshot.kept is None:
        of_base = searched.index.search_each(queries, ks, efs, threads=threads)
    else:
        permitted = [snapshot.kept] * len(queries)
        of_base = searched.index.search_each(queries, ks, efs, permitted=permitted, threads=threads)
    if not snapshot.tail_rows:
        return of_base
    rows, scores = of_base.rows, of_base.scores
    places, cosines = _of_tail(searched, queries, width)  # (B, up to width)
    rows = np.concatenate([rows, np.where(places >= 0, places + len(snapshot.gone), -1)], axis=1)
    scores = np.concatenate([scores, cosines], axis=1)
    order = np.lexsort((rows, np.where(rows >= 0, -scores, np.inf)))[:, :width]
    line = np.arange(len(queries))[:, None]
    rows, scores = rows[line, order], scores[line, order]
    beyond = np.arange(width)[None, :] >= np.array(ks, dtype=np.int64).reshape(-1, 1)
    rows[beyond], scores[beyond] = -1, np.nan
    return Neighbours(rows, scores, (rows >= 0).sum(axis=1).astype(np.int32))


def _of_tail(
    searched: Searched, queries: NDArray[np.float32], width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best places of the tail, (B, up to width), compared with every one that is alive."""
    snapshot = searched.snapshot
    places = np.flatnonzero(snapshot.alive)  # (T,)
    taken = snapshot.places.rows[places]  # (T,) of the vector file
    found = min(width, len(places))
    best = np.empty((len(queries), found), dtype=np.int64)
    scores = np.empty((len(queries), found), dtype=np.float32)
    products = queries @ searched.vectors[: int(taken.max()) + 1].T  # (B, rows)
    for line, all_products in enumerate(products):
        own = all_products[taken]  # (T,)
        threshold = np.partition(own, len(own) - found)[len(own) - found] - TIE_TOLERANCE
        candidates = np.flatnonzero(own >= threshold)
        cosines = cosines_of_pairs(searched.vectors, taken[candidates], queries, np.full_like(candidates, line))
        order = np.lexsort((candidates, -cosines))[:found]
        best[line], scores[line] = places[candidates[order]], cosines[order]
    return best, scores

"""Nearest products of a snapshot: the base's index without what is gone, and the tail, which is searched exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.index.exact_search import TIE_TOLERANCE, cosines_of_pairs
from trident.index.index import Neighbours, VectorIndex
from trident.live.snapshot import Snapshot

MORE = 8  # rows that are asked for beyond the expected


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
    if not snapshot.tail_rows and not snapshot.gone_count:
        return searched.index.search_each(queries, ks, efs, threads=threads)
    rows, scores = _of_base(searched, queries, ks, efs, threads)
    if snapshot.tail_rows:
        places, cosines = _of_tail(searched, queries, width)  # (B, up to width)
        rows = np.concatenate([rows, np.where(places >= 0, places + len(snapshot.gone), -1)], axis=1)
        scores = np.concatenate([scores, cosines], axis=1)
        order = np.lexsort((rows, np.where(rows >= 0, -scores, np.inf)))[:, :width]
        line = np.arange(len(queries))[:, None]
        rows, scores = rows[line, order], scores[line, order]
    beyond = np.arange(width)[None, :] >= np.array(ks, dtype=np.int64).reshape(-1, 1)
    rows[beyond], scores[beyond] = -1, np.nan
    return Neighbours(rows, scores, (rows >= 0).sum(axis=1).astype(np.int32))


def _of_base(
    searched: Searched, queries: NDArray[np.float32], ks: Sequence[int], efs: Sequence[int | None], threads: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best rows of the base that are not gone, (B, width); more are asked for until there are enough."""
    snapshot, width = searched.snapshot, max(ks, default=1)
    if not snapshot.gone_count:
        found = searched.index.search_each(queries, ks, efs, threads=threads)
        return found.rows, found.scores
    count, gone = len(snapshot.gone), snapshot.gone_count
    rows = np.full((len(queries), width), -1, dtype=np.int64)
    scores = np.full((len(queries), width), np.nan, dtype=np.float32)
    left = np.arange(len(queries))
    more = MORE + min(gone, 2 * width * gone // count)
    while len(left):
        asked = [min(count, ks[line] + more) for line in left]
        found = searched.index.search_each(queries[left], asked, [efs[line] for line in left], threads=threads)
        stays = (found.rows >= 0) & ~snapshot.gone[found.rows]
        enough = []
        for number, line in enumerate(left):
            kept = np.flatnonzero(stays[number])[: ks[line]]
            rows[line, : len(kept)], scores[line, : len(kept)] = found.rows[number, kept], found.scores[number, kept]
            enough.append(len(kept) == min(ks[line], count - gone) or asked[number] >= min(count, ks[line] + gone))
        left = left[~np.array(enough, dtype=bool)]
        more *= 4
    return rows, scores


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

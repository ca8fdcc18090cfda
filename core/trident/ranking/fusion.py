"""One order of what two legs found: cosines and shares of the best BM25, or ranks.

Source: S. Bruch, S. Gai and A. Ingber 2023, An analysis of fusion functions for hybrid retrieval (arXiv 2210.11934),
convex combination, by the bounds that a score has; G. Cormack, C. Clarke and S. Büttcher 2009, Reciprocal rank fusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RRF_K = 60  # of Cormack et al., ranks from one
RANKS_BEST = 2 / (RRF_K + 1)  # the value of what is first in both legs
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What two legs found for one query: C rows of either, each once.

    Attributes:
        rows: (C,) int64.
        cosines: (C,) float32, of all.
        bm25: (C,) float32, of all; 0 where a row has no word of the query.
        dense_ranks: (C,) int64, from one; 0: the dense leg did not find it.
        lexical_ranks: (C,) int64, of the lexical leg.
    """

    rows: NDArray[np.int64]
    cosines: Scores
    bm25: Scores
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fused:
    """The order of candidates.

    Attributes:
        places: (C,) in them, best first.
        values: (C,) float32, in that order: what was decided by.
        codes: (C,) int64, in that order: what of a value model numbers are worth.
    """

    places: NDArray[np.intp]
    values: Scores
    codes: NDArray[np.int64]


def united(dense: NDArray[np.int64], lexical: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return the rows of two legs, each once, those of the first in front, and their rank in each, 0 for none."""
    first, count = len(dense), len(dense) + len(lexical)
    rows = np.concatenate([dense, lexical])
    dense_ranks, lexical_ranks = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    dense_ranks[:first] = np.arange(1, first + 1)
    lexical_ranks[first:] = np.arange(1, count - first + 1)
    order = np.argsort(rows, kind="stable")  # a row of both stands there as the first leg's, then as the second's
    both = np.flatnonzero(rows[order[1:]] == rows[order[:-1]])
    if not len(both):
        return rows, dense_ranks, lexical_ranks
    again = order[both + 1]
    lexical_ranks[order[both]] = lexical_ranks[again]
    kept = np.ones(count, dtype=np.bool_)
    kept[again] = False
    return rows[kept], dense_ranks[kept], lexical_ranks[kept]


def fuse(found: Candidates, weight: float, codes: Mapping[int, int]) -> Fused:
    """Return candidates in the order of (1 - weight) x cosine + weight x BM25, from 0 to 1 each.

    A cosine counts as it is, 0 where it is below; BM25 as a share of the query's best. What has a model number of the
    query stands in front.

    Args:
        found: Of one query.
        weight: Of BM25, 0 to 1.
        codes: What model numbers are worth in a row, >= 1 each.
    """
    values = np.float32(1 - weight) * np.maximum(found.cosines, 0) + np.float32(weight) * scaled(found.bm25, 0.0)
    return _ordered(found, values, codes)


def fuse_ranks(found: Candidates, codes: Mapping[int, int]) -> Fused:
    """Return candidates in the order of their ranks in both legs, where nothing says what scores are worth."""
    values = np.zeros(len(found.rows), dtype=np.float32)
    for ranks in (found.dense_ranks, found.lexical_ranks):
        there = ranks > 0
        values[there] += (1 / (RRF_K + ranks[there])).astype(np.float32)
    return _ordered(found, values, codes)


def values_beside(cosines: Scores, bm25: Scores | None, best: float, weight: float | None) -> Scores:
    """Return what products that no leg found are worth beside those that were: by the same formula, no rank counts.

    Args:
        cosines: (R,) of theirs.
        bm25: (R,) of theirs; None: it was not asked.
        best: BM25 of the best that was found.
        weight: Of BM25, 0 to 1; None: by ranks, of which they have none.
    """
    if weight is None:
        return np.zeros_like(cosines)
    values = np.float32(1 - weight) * np.maximum(cosines, 0)
    if bm25 is not None:
        values += np.float32(weight) * scaled(np.append(bm25, np.float32(best)), 0.0)[:-1]
    return values


def scaled(scores: Scores, lowest: float) -> Scores:
    """Return scores so that the lowest is 0 and the best 1; all 0 where they are equal."""
    width = float(scores.max(initial=lowest)) - lowest
    if width <= 0:
        return np.zeros_like(scores)
    result: Scores = (scores - np.float32(lowest)) / np.float32(width)
    return result


def _ordered(found: Candidates, values: Scores, codes: Mapping[int, int]) -> Fused:
    worth = np.zeros(len(found.rows), dtype=np.int64)
    if codes:
        worth[:] = [codes.get(row, 0) for row in found.rows.tolist()]
        values = values + worth.astype(np.float32)
    places = np.lexsort((found.rows, -found.cosines, -values))
    return Fused(places, values[places], worth[places])

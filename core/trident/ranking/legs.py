"""The best rows for one query by two legs: the one place that asks vectors and words and fuses what they find.

A filter reaches both legs; each goes to a fixed depth, so that a page does not depend on what else is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Rows
from trident.lexical.index import LexicalQuery
from trident.lexical.postings import Sums
from trident.ranking.fusion import Candidates, Fused, fuse, fuse_ranks, united
from trident.stage_times import stage

DEEPEST = 1000  # products of a leg where a page lies beyond the fixed depth
WORDS_ALONE = "lexical"  # the way of a query whose vector is not searched
DIGITS = 6  # of the numbers of an explanation


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """How one query is ranked.

    Attributes:
        query: Its words.
        weight: Of BM25, 0 to 1; None: by ranks.
        runs_dense: Whether the vectors are asked.
        runs_lexical: Whether BM25 is asked; model numbers are, in any case.
    """

    query: LexicalQuery
    weight: float | None
    runs_dense: bool
    runs_lexical: bool


@dataclass(frozen=True, eq=False)
class Nearest:
    """Rows that vectors found, best first, their cosines, and the way that found them."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    way: Any


NO_ROWS = np.zeros(0, dtype=np.int64)
NOTHING = Nearest(NO_ROWS, np.zeros(0, dtype=np.float32), WORDS_ALONE)


@dataclass(frozen=True, eq=False)
class Parts:
    """What decided the places of R rows, in their order, (R,) each; ``bm25`` is None where it was not asked."""

    values: NDArray[np.float32]
    bm25: NDArray[np.float32] | None
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]
    codes: NDArray[np.int64]

    def explained(self, place: int, cosine: float) -> dict[str, Any]:
        """Return one of them as JSON has it; a rank that there is not is null."""
        dense, lexical = int(self.dense_ranks[place]), int(self.lexical_ranks[place])
        return {
            "cosine": round(cosine, DIGITS),
            "bm25": None if self.bm25 is None else round(float(self.bm25[place]), DIGITS),
            "dense_rank": dense or None,
            "lexical_rank": lexical or None,
            "fused": round(float(self.values[place]), DIGITS),
            "model_numbers": int(self.codes[place]),
        }

    def take(self, places: NDArray[Any]) -> Parts:
        """Return those of some places."""
        bm25 = None if self.bm25 is None else self.bm25[places]
        ranks = self.dense_ranks[places], self.lexical_ranks[places]
        return Parts(self.values[places], bm25, *ranks, self.codes[places])

    def followed_by(self, other: Parts) -> Parts:
        """Return these parts, and others behind them."""
        return Parts(
            np.append(self.values, other.values),
            None if self.bm25 is None or other.bm25 is None else np.append(self.bm25, other.bm25),
            np.append(self.dense_ranks, other.dense_ranks),
            np.append(self.lexical_ranks, other.lexical_ranks),
            np.append(self.codes, other.codes),
        )


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rows of one query in the order of both legs, their cosines, the way of the vectors, and the parts."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    way: Any
    parts: Parts
    depth: int = 0  # of a leg, where it was a larger one than the generation's

    def take(self, places: NDArray[Any]) -> Ranked:
        """Return some of the rows, in the order of their places."""
        return Ranked(self.rows[places], self.scores[places], self.way, self.parts.take(places), self.depth)

    def explained(self) -> list[dict[str, Any]]:
        """Return what decided the place of each row, as JSON has it."""
        return [self.parts.explained(place, float(score)) for place, score in enumerate(self.scores)]


class Legs(Protocol):
    """What is asked for rows: the vectors and the words of a catalogue, at one moment."""

    def nearest(self, query: RankedQuery, k: int) -> Nearest:
        """Return the k products nearest to a query among those that it permits."""

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of rows."""

    def sums(self, query: LexicalQuery) -> Sums:
        """Return BM25 of every row; of a product that is gone, 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RankedQuery:
    """One query.

    Attributes:
        plan: How it is ranked.
        vector: (1, D) float32, unit length.
        ef: Search effort in a graph; None: the index's own.
        min_score: Rows with a lower cosine are left out; None: none is.
        permitted: Ascending rows; None: all.
        threads: Of a search in the graph.
    """

    plan: Plan
    vector: NDArray[np.float32]
    ef: int | None = None
    min_score: float | None = None
    permitted: Rows | None = None
    threads: int = 1


class Ranker:
    """Ranks by vectors and words.

    Args:
        legs: Of a catalogue.
        depth: Products of a leg.
    """

    def __init__(self, legs: Legs, depth: int) -> None:
        """Keep both."""
        self._legs, self._depth = legs, depth

    def over(self, legs: Legs) -> Ranker:
        """Return one that ranks alike by other legs."""
        return Ranker(legs, self._depth)

    def ranked(self, query: RankedQuery, depth: int, found: Nearest | None = None) -> Ranked:
        """Return the best products, fewer than ``depth`` where there are fewer, and more where the legs found more.

        Where more are wanted than two legs of the fixed depth found, deeper legs say what follows.

        Args:
            query: One.
            depth: Products that are wanted, >= 1.
            found: What the dense leg found to its fixed depth; None: it is asked.
        """
        with stage("lexical"):
            sums = self._legs.sums(query.plan.query) if query.plan.runs_lexical else None
        first = self._fused(query, self._depth, sums, found)
        if depth <= len(first.rows) or self._depth >= DEEPEST:
            return first
        deep = self._fused(query, DEEPEST, sums, None)
        rest = deep.take(np.flatnonzero(~np.isin(deep.rows, first.rows)))
        if not len(rest.rows):
            return first
        rows, scores = np.append(first.rows, rest.rows), np.append(first.scores, rest.scores)
        return Ranked(rows, scores, first.way, first.parts.followed_by(rest.parts), DEEPEST)

    def candidates(
        self, query: RankedQuery, depth: int, sums: Sums | None, found: Nearest | None = None
    ) -> tuple[Candidates, Any]:
        """Return what two legs of a depth find, and the way of the vectors.

        Args:
            query: One.
            depth: Of each leg.
            sums: BM25 of every row; None: it is not asked.
            found: As for ``ranked``.
        """
        plan = query.plan
        dense = found
        if dense is None:
            dense = self._legs.nearest(query, depth) if plan.runs_dense else NOTHING
        with stage("lexical"):
            lexical = NO_ROWS if sums is None else sums.best(depth, query.permitted)
        if plan.query.codes:
            codes = _permitted(plan.query.codes, query.permitted)
            lexical = np.concatenate([lexical, codes[~np.isin(codes, lexical)]])
        rows, dense_ranks, lexical_ranks = united(dense.rows, lexical)
        cosines = np.empty(len(rows), dtype=np.float32)
        known = len(dense.rows)
        cosines[:known] = dense.scores
        if len(rows) > known:
            cosines[known:] = self._legs.vectors(rows[known:]) @ query.vector[0]
        bm25 = np.zeros(len(rows), dtype=np.float32) if sums is None else sums.scores[rows]
        return Candidates(rows, cosines, bm25, dense_ranks, lexical_ranks), dense.way

    def _fused(self, query: RankedQuery, depth: int, sums: Sums | None, found: Nearest | None) -> Ranked:
        """Return what two legs of a depth find, in one order."""
        candidates, way = self.candidates(query, depth, sums, found)
        fused = fused_order(candidates, query.plan)
        places = fused.places
        parts = Parts(
            fused.values,
            None if sums is None else candidates.bm25[places],
            candidates.dense_ranks[places],
            candidates.lexical_ranks[places],
            fused.codes,
        )
        ranked = Ranked(candidates.rows[places], candidates.cosines[places], way, parts)
        lowest = query.min_score
        return ranked if lowest is None else ranked.take(np.flatnonzero(ranked.scores >= np.float32(lowest)))


def fused_order(candidates: Candidates, plan: Plan) -> Fused:
    """Return the order of candidates by the plan of their query."""
    if plan.weight is None:
        return fuse_ranks(candidates, plan.query.codes)
    return fuse(candidates, plan.weight, plan.query.codes)


def _permitted(codes: Mapping[int, int], permitted: Rows | None) -> NDArray[np.int64]:
    """Return the rows that have a model number and are permitted, ascending."""
    rows = np.array(sorted(codes), dtype=np.int64)
    return rows if permitted is None or not len(rows) else rows[np.isin(rows, permitted)]

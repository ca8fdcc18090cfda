"""BM25 of every document that has a token, made by bm25s; and the sums over a query's tokens.

Source: S. Robertson and H. Zaragoza 2009, The probabilistic relevance framework, in the form of Lucene; X. Lù 2024,
BM25S (arXiv 2407.03618), which adds the numbers up when the index is made.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import ConfigError

Rows = NDArray[np.uint32]

K1, B = 0.3, 0.6  # of short titles: docs/log/lexical.md


@dataclass(frozen=True, kw_only=True)
class Bm25:
    """The two parameters of BM25."""

    k1: float = K1  # how much a word counts that stands there twice; 0: once and twice are the same
    b: float = B  # how much a long title is held against it, 0 to 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise ConfigError(f"lexical.k1 must be >= 0, got {self.k1}")
        if not 0 <= self.b <= 1:
            raise ConfigError(f"lexical.b must be in [0, 1], got {self.b}")


@dataclass(frozen=True, eq=False)
class Postings:
    """What each of V tokens is worth in the rows that have it.

    Attributes:
        rows: (E,) int32, ascending within a token.
        scores: (E,) float32, above zero.
        starts: (V + 1,) int64, where the rows of each token begin.
        count: N rows.
        mean_length: Of their tokens.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    starts: NDArray[np.int64]
    count: int
    mean_length: float

    @classmethod
    def build(cls, documents: Sequence[Sequence[int]], tokens: int, parameters: Bm25) -> Postings:
        """Return the postings of documents, each the numbers of its tokens.

        Args:
            documents: N lists.
            tokens: V; every number is below it, and each stands somewhere.
            parameters: Of BM25.
        """
        lengths = sum(map(len, documents))
        if not lengths:
            empty = np.zeros(0, dtype=np.int32)
            return cls(empty, empty.astype(np.float32), np.zeros(tokens + 1, dtype=np.int64), len(documents), 0.0)
        bm25s = load_bm25s()
        maker = bm25s.BM25(k1=parameters.k1, b=parameters.b, method="lucene", backend="numpy", csc_backend="numpy")
        made = maker.build_index_from_ids(range(tokens), documents, show_progress=False)
        return cls(
            made["indices"].astype(np.int32),
            made["data"].astype(np.float32),
            made["indptr"].astype(np.int64),
            len(documents),
            lengths / len(documents),
        )

    def rows_of(self, token: int) -> NDArray[np.int32]:
        """Return the rows of a token, ascending."""
        return self.rows[self.starts[token] : self.starts[token + 1]]

    def frequency(self, token: int) -> int:
        """Return how many rows have a token."""
        return int(self.starts[token + 1] - self.starts[token])

    def sums(self, tokens: Iterable[int]) -> Sums:
        """Return the sums over the tokens of a query, each once, added in their order."""
        sums = np.zeros(self.count, dtype=np.float32)  # pages that nothing is added to cost nothing
        touched = []
        for token in tokens:
            start, end = int(self.starts[token]), int(self.starts[token + 1])
            rows = self.rows[start:end]
            sums[rows] += self.scores[start:end]  # each row once
            touched.append(rows)
        return Sums(sums, touched)


@dataclass(frozen=True, eq=False)
class Occurrences:
    """How often some tokens stand in N documents: scored by many parameters without making an index anew.

    Attributes:
        rows: (E,) int64, by token, ascending within each.
        counts: (E,) int64, how often the token stands there.
        starts: (V + 1,) int64, where the rows of each token begin; tokens that nobody asked for have none.
        lengths: (N,) int64, tokens of each document.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]], tokens: int, asked: Iterable[int]) -> Occurrences:
        """Return those of the asked tokens.

        Args:
            documents: N lists of numbers of tokens.
            tokens: V.
            asked: Numbers below V.
        """
        wanted = np.zeros(tokens, dtype=bool)
        wanted[list(asked)] = True
        lengths = np.fromiter(map(len, documents), dtype=np.int64, count=len(documents))
        every = np.fromiter(chain.from_iterable(documents), dtype=np.int64, count=int(lengths.sum()))
        places = np.flatnonzero(wanted[every])
        row = np.repeat(np.arange(len(documents)), lengths)[places]
        both, counts = np.unique(every[places] * max(1, len(documents)) + row, return_counts=True)
        token, rows = np.divmod(both, max(1, len(documents)))
        starts = np.concatenate([[0], np.cumsum(np.bincount(token, minlength=tokens))])
        return cls(rows, counts.astype(np.int64), starts, lengths)

    def postings(self, parameters: Bm25) -> Postings:
        """Return what ``Postings.build`` has for these tokens, within rounding; others stand nowhere."""
        count = len(self.lengths)
        mean_length = float(self.lengths.mean()) if count else 0.0
        found = np.diff(self.starts)
        rarity = np.log(1 + (count - found + 0.5) / (found + 0.5))
        held_against = 1 - parameters.b + parameters.b * self.lengths[self.rows] / mean_length
        scores = np.repeat(rarity, found) * self.counts / (self.counts + parameters.k1 * held_against)
        return Postings(self.rows.astype(np.int32), scores.astype(np.float32), self.starts, count, mean_length)


@dataclass(frozen=True, eq=False)
class Sums:
    """BM25 of N rows for one query, and the rows of each of its tokens."""

    scores: NDArray[np.float32]  # (N,)
    touched: list[NDArray[np.int32]]

    def best(self, depth: int, permitted: Rows | None = None) -> NDArray[np.int64]:
        """Return the rows with the highest scores above zero, at most ``depth``; of equal ones the lower row first.

        Args:
            depth: >= 1.
            permitted: Ascending rows; nothing else is answered, and all of them may be. None: all.
        """
        found = self._touched(permitted)
        if not len(found):
            return np.zeros(0, dtype=np.int64)
        scores = self.scores[found]
        wanted = depth * len(self.touched)  # a row stands there once a token at most
        if len(found) > wanted:
            least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
            found, scores = found[scores >= least], scores[scores >= least]  # and all that equal it
        rows = found if len(self.touched) == 1 else np.unique(found)
        order = np.lexsort((rows, -self.scores[rows]))[:depth]
        best: NDArray[np.int64] = rows[order].astype(np.int64)
        return best

    def _touched(self, permitted: Rows | None) -> NDArray[np.int32]:
        if not self.touched:
            return np.zeros(0, dtype=np.int32)
        total = sum(map(len, self.touched))
        if permitted is not None and len(permitted) < total:
            return permitted[self.scores[permitted] > 0].astype(np.int32)
        if total > len(self.scores):
            found = np.flatnonzero(self.scores).astype(np.int32)
        else:
            found = self.touched[0] if len(self.touched) == 1 else np.concatenate(self.touched)
        if permitted is None:
            return found
        is_permitted = np.zeros(len(self.scores), dtype=np.bool_)
        is_permitted[permitted] = True
        kept: NDArray[np.int32] = found[is_permitted[found]]
        return kept


def idf(count: int, frequency: int) -> float:
    """Return what a token that so many of so many rows have is worth, as Lucene has it."""
    return math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))


def load_bm25s() -> Any:
    """Return the module bm25s.

    It imports JAX where that is installed, which would keep three quarters of a GPU's memory to itself: JAX is told to
    stay on the CPU, unless the variable ``JAX_PLATFORMS`` says otherwise.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import bm25s

    return bm25s

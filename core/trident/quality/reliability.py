"""How far probabilities can be believed: expected calibration error, Brier score, and both by length of query.

Judged are the candidates that a stage gives for held-out queries: what people would see, not pairs that were sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident.quality.metrics import Interval, resamples

BINS = 10  # of equal width
LENGTHS = ((1, "1 word"), (2, "2 words"), (3, "3 words"))  # of a query; longer ones together
LONGER = "4 words and more"
NEAR_EVEN = (0.45, 0.55)  # probabilities of hits of which half should be relevant


@dataclass(frozen=True, eq=False)
class Candidates:
    """C judged candidates of Q queries: ``scores`` (C,) float32, ``labels`` (C,) int8, ``queries`` (C,) int64 numbers.

    ``names`` are the queries, by number.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int8]
    queries: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Candidates of about the same probability; ``probability`` is their mean, ``relevant`` the share with its ends."""

    candidates: int
    probability: float
    relevant: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """What was measured of one map, over candidates of held-out queries; intervals are over queries, 95%."""

    error: Interval  # expected calibration error
    brier: Interval
    candidates: int
    queries: int
    relevant: float  # share
    bins: tuple[Bin, ...]
    by_length: dict[str, Reliability | None]  # None: too few to say; empty within a group
    near_even: Bin | None = None  # of the hits with a probability of about a half


def judged_candidates(
    pairs: Pairs, found: Mapping[str, Sequence[tuple[str, float]]], *, every_positive_known: bool
) -> Candidates:
    """Return the candidates of queries whose relevance is known.

    Args:
        pairs: The judgements.
        found: (product id, score) of the candidates of each query.
        every_positive_known: Whether a candidate without a label is irrelevant; else it is left out.
    """
    known: dict[str, dict[str, int]] = {}
    for query, product, label in zip(pairs.queries, pairs.product_ids, pairs.labels.tolist(), strict=True):
        known.setdefault(normalized_query(query), {})[product] = int(label)
    scores: list[float] = []
    labels: list[int] = []
    queries: list[int] = []
    names: dict[str, int] = {}
    for query, hits in found.items():
        own = known.get(normalized_query(query), {})
        for product, score in hits:
            if product in own or every_positive_known:
                number = names.setdefault(query, len(names))
                scores.append(score)
                labels.append(own.get(product, 0))
                queries.append(number)
    return Candidates(
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int8),
        np.array(queries, dtype=np.int64),
        tuple(names),
    )


def reliability(candidates: Candidates, probabilities: NDArray[np.float64]) -> Reliability:
    """Return how far the probabilities (C,) of candidates can be believed, over all and by length of query.

    Raises:
        DataError: If there is no candidate.
    """
    if not len(candidates.labels):
        raise DataError("a calibration is judged by candidates of held-out queries, got none that is judged")
    lengths = np.array([len(name.split()) for name in candidates.names])[candidates.queries]  # (C,)
    groups = {name: lengths == length for length, name in LENGTHS}
    groups[LONGER] = lengths > LENGTHS[-1][0]
    whole = _measured(candidates, probabilities, np.ones(len(lengths), dtype=bool))
    by_length = {
        name: _measured(candidates, probabilities, rows) if len(set(candidates.labels[rows].tolist())) == 2 else None
        for name, rows in groups.items()
    }
    even = (probabilities >= NEAR_EVEN[0]) & (probabilities <= NEAR_EVEN[1])
    near = _bin(candidates, probabilities, even) if even.any() else None
    return Reliability(**{**vars(whole), "by_length": by_length, "near_even": near})


def brier_by_query(candidates: Candidates, probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean squared error of the probabilities (C,) of each query's candidates."""
    squares = (probabilities - candidates.labels) ** 2
    sums = np.bincount(candidates.queries, squares, minlength=len(candidates.names))
    counts = np.bincount(candidates.queries, minlength=len(candidates.names))
    return {name: float(total / count) for name, total, count in zip(candidates.names, sums, counts, strict=True)}


def _measured(candidates: Candidates, probabilities: NDArray[np.float64], rows: NDArray[np.bool_]) -> Reliability:
    labels, chances, numbers = candidates.labels[rows], probabilities[rows], candidates.queries[rows]
    distinct, query_of = np.unique(numbers, return_inverse=True)
    bin_of = np.minimum((chances * BINS).astype(np.int64), BINS - 1)  # (C,)
    cell = query_of * BINS + bin_of
    shape = (len(distinct), BINS)
    sums: list[NDArray[np.float64]] = [
        np.bincount(cell, weights, minlength=shape[0] * BINS).reshape(shape).astype(np.float64)  # (Q, BINS)
        for weights in (np.ones(len(labels)), chances, labels.astype(np.float64), (chances - labels) ** 2)
    ]
    ones = np.ones(len(distinct), dtype=np.int64)
    drawn = [_figures(sums, times) for times in resamples(len(distinct))]
    error, brier = _figures(sums, ones)
    return Reliability(
        error=_interval(error, [each[0] for each in drawn]),
        brier=_interval(brier, [each[1] for each in drawn]),
        candidates=len(labels),
        queries=len(distinct),
        relevant=float(labels.mean()),
        bins=tuple(
            _bin(candidates, probabilities, _of_rows(rows, bin_of == number))
            for number in range(BINS)
            if (bin_of == number).any()
        ),
        by_length={},
    )


def _of_rows(rows: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    every = np.zeros_like(rows)
    every[np.flatnonzero(rows)[chosen]] = True
    return every


def _figures(sums: Sequence[NDArray[np.float64]], times: NDArray[np.int64]) -> tuple[float, float]:
    """Return expected calibration error and Brier score with query q ``times[q]`` times.

    Source: Naeini, Cooper and Hauskrecht 2015, Obtaining well calibrated probabilities using Bayesian binning, eq. 3.
    """
    counts, chances, labels, squares = (times @ each for each in sums)  # (BINS,) each
    total = max(float(counts.sum()), 1.0)
    return float(np.abs(chances - labels).sum()) / total, float(squares.sum()) / total


def _bin(candidates: Candidates, probabilities: NDArray[np.float64], rows: NDArray[np.bool_]) -> Bin:
    """Return rows as one bin; the interval of the relevant share is over queries."""
    labels = candidates.labels[rows].astype(np.float64)
    distinct, query_of = np.unique(candidates.queries[rows], return_inverse=True)
    relevant, counts = np.bincount(query_of, labels), np.bincount(query_of)
    shares = [float(times @ relevant) / float(times @ counts) for times in resamples(len(distinct))]
    low, high = np.quantile(shares, [0.025, 0.975])
    return Bin(
        candidates=len(labels),
        probability=float(probabilities[rows].mean()),
        relevant=float(labels.mean()),
        low=float(low),
        high=float(high),
    )


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))

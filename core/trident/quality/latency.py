"""How long a query takes in this process, measured in turns, so that a busy machine is busy for all."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trident.ranking.reranking import PairCache, Reranker
from trident.search.searcher import Searcher

WARM_UP = 5  # queries that are not counted
SAMPLES = 100  # queries asked of each


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from a raw query to its products, each query alone."""

    median_ms: float
    p95_ms: float


def latency_in_turns(searchers: Mapping[str, Searcher], queries: Sequence[str]) -> dict[str, Latency]:
    """Return the latency of each searcher over the same queries, asked one by one, who is first changing each time.

    A second stage scores its pairs anew each time, as for a query that nobody asked before.

    Args:
        searchers: By name.
        queries: At least one; asked again from the start where there are fewer than are needed.
    """
    searchers = {name: _remembering_nothing(searcher) for name, searcher in searchers.items()}
    taken: dict[str, list[float]] = {name: [] for name in searchers}
    for number, query in enumerate(itertools.islice(itertools.cycle(queries), WARM_UP + SAMPLES)):
        for name in list(searchers)[:: 1 if number % 2 else -1]:
            started = time.perf_counter()
            searchers[name].search([query])
            taken[name].append(1000 * (time.perf_counter() - started))
    return {
        name: Latency(median_ms=float(np.median(values[WARM_UP:])), p95_ms=float(np.quantile(values[WARM_UP:], 0.95)))
        for name, values in taken.items()
    }


def _remembering_nothing(searcher: Searcher) -> Searcher:
    second = searcher.second_stage
    if second is None:
        return searcher
    reranker = Reranker(*second.reranker.parts(), cache=PairCache(0))
    return replace(searcher, second_stage=replace(second, reranker=reranker))

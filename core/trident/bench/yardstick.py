"""The yardstick: the same tokenizer, graph and index in this process, without any server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trident.searcher import Searcher

WARMUP_BATCHES = 3


@dataclass(frozen=True, kw_only=True)
class YardstickPoint:
    """What the pipeline in one process does with batches of one size."""

    batch: int
    searches_per_s: float
    p50_ms: float  # of a batch
    p99_ms: float
    cpu_s_per_1000: float  # of the process, a thousand searches


def measure_yardstick(
    searcher: Searcher, queries: Sequence[str], *, batches: Sequence[int], threads: int, window_s: float
) -> tuple[YardstickPoint, ...]:
    """Return what a pipeline does, batch size by batch size.

    Args:
        searcher: Loaded with as many threads.
        queries: Asked in their order, again from the start when they end.
        batches: Queries a call.
        threads: Of the search in the index.
        window_s: Seconds for each size.
    """
    return tuple(_point(searcher, queries, batch, threads, window_s) for batch in batches)


def _point(searcher: Searcher, queries: Sequence[str], batch: int, threads: int, window_s: float) -> YardstickPoint:
    position = 0

    def search_next() -> None:
        nonlocal position
        searcher.search([queries[(position + row) % len(queries)] for row in range(batch)], threads=threads)
        position += batch

    for _ in range(WARMUP_BATCHES):
        search_next()
    durations: list[float] = []
    started, started_cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < window_s or not durations:
        asked = time.perf_counter()
        search_next()
        durations.append(time.perf_counter() - asked)
    elapsed, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    searches = batch * len(durations)
    p50, p99 = np.percentile(durations, [50, 99]) * 1000
    return YardstickPoint(
        batch=batch,
        searches_per_s=searches / elapsed,
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpu_s_per_1000=cpu_s * 1000 / searches,
    )

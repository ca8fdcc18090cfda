"""The yardstick: the same tokenizer, graph and index in this process, without any server.

Two programs are measured. ``plain`` is the shortest one: a batch is padded to its longest query, one session runs it on
all threads, the index is searched. ``tuned`` is the code that the server itself runs, called directly: sorted, cut into
runs, dealt out to the threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trident.searcher import Searcher

Search = Callable[[Sequence[str]], object]
Way = Literal["plain", "tuned"]
WAYS: tuple[Way, ...] = ("plain", "tuned")
WARMUP_BATCHES = 3


@dataclass(frozen=True, kw_only=True)
class YardstickPoint:
    """What the pipeline in one process does with batches of one size."""

    batch: int
    way: Way = "plain"
    searches_per_s: float
    p50_ms: float  # of a batch
    p99_ms: float
    cpu_s_per_1000: float  # of the process, a thousand searches


def measure_yardstick(
    searcher: Searcher, queries: Sequence[str], *, batches: Sequence[int], threads: int, window_s: float
) -> tuple[YardstickPoint, ...]:
    """Return what a pipeline does, batch size by batch size, in both ways.

    Args:
        searcher: Loaded with as many threads.
        queries: Asked in their order, again from the start when they end.
        batches: Queries a call.
        threads: Of the search in the index.
        window_s: Seconds for each size and way.
    """
    programs: dict[Way, Search] = {
        "plain": lambda asked: searcher.search_plainly(asked, threads=threads),
        "tuned": lambda asked: searcher.search(asked, threads=threads),
    }
    return tuple(_point(programs[way], queries, batch, way, window_s) for batch in batches for way in WAYS)


def _point(search: Search, queries: Sequence[str], batch: int, way: Way, window_s: float) -> YardstickPoint:
    position = 0

    def search_next() -> None:
        nonlocal position
        search([queries[(position + row) % len(queries)] for row in range(batch)])
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
        way=way,
        searches_per_s=searches / elapsed,
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpu_s_per_1000=cpu_s * 1000 / searches,
    )

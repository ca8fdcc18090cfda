"""The yardstick: the same tokenizer, encoder and index in this process, without any server.

Two programs are measured. ``plain`` is the shortest one, over the padded graph: a batch is padded to its longest query,
one session runs it on all threads, the index is searched. ``tuned`` is the code that the server itself runs, called
directly: over the graph that runs no padding, sorted, cut into runs, dealt out to the threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from trident.encoder.encoder import OnnxEncoder
from trident.generation.generation import Generation
from trident.retrieval.requests import SearchKnobs, with_texts
from trident.retrieval.retriever import Hits
from trident.search.searcher import Searcher

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


@dataclass(frozen=True)
class Yardstick:
    """The pipeline of one generation in this process; ``load`` one."""

    searcher: Searcher  # as the server runs it
    padded: OnnxEncoder  # the same encoder by the graph that the served one is made of
    knobs: SearchKnobs = field(default_factory=SearchKnobs)

    @classmethod
    def load(cls, generation: Generation, *, threads: int, rerank: int | None = None) -> Yardstick:
        """Return the yardstick of a generation in the precision that is served.

        Args:
            generation: Whose files are read; they are not checked against the manifest.
            threads: Of the encoder.
            rerank: Candidates of the second stage; None: as many as the generation says.

        Raises:
            TridentError: If a part is missing, damaged or of another encoder.
        """
        padded = OnnxEncoder.load(
            generation.graph(generation.served_precision),
            threads=threads,
            encoder_fingerprint=generation.manifest.encoder_fingerprint,
        )
        searcher, knobs = Searcher.load(generation, threads=threads), SearchKnobs(rerank=rerank)
        searcher.check([knobs])
        return cls(searcher, padded, knobs)

    def search(self, queries: Sequence[str], *, threads: int) -> Hits:
        """Return what the searcher returns.

        Raises:
            DataError: If a query is empty.
        """
        return self.searcher.search(queries, [self.knobs] * len(queries), threads=threads)

    def search_plainly(self, queries: Sequence[str], *, threads: int) -> Hits:
        """Return what the searcher returns, by the shortest program.

        Raises:
            DataError: If a query is empty.
        """
        retriever, second = self.searcher.retriever, self.searcher.second_stage
        knobs = retriever.spelled(with_texts([self.knobs] * len(queries), [(query, "query") for query in queries]))
        meant = [retriever.text_for_vectors(knob) for knob in knobs]
        embeddings = self.padded.embed_whole(self.searcher.tokenizer.encode(meant, "query"))
        if second is None:
            return retriever.retrieve(embeddings, knobs, threads=threads)
        hits = retriever.retrieve(embeddings, second.widened(knobs), threads=threads)
        return second.reranked(queries, knobs, hits)


def measure_yardstick(
    yardstick: Yardstick, queries: Sequence[str], *, batches: Sequence[int], threads: int, window_s: float
) -> tuple[YardstickPoint, ...]:
    """Return what a pipeline does, batch size by batch size, in both ways.

    Args:
        yardstick: Loaded with as many threads.
        queries: Asked in their order, again from the start when they end.
        batches: Queries a call.
        threads: Of the search in the index.
        window_s: Seconds for each size and way.
    """
    programs: dict[Way, Search] = {
        "plain": lambda asked: yardstick.search_plainly(asked, threads=threads),
        "tuned": lambda asked: yardstick.search(asked, threads=threads),
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

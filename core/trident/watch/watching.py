"""What the served models call so that they are watched: counters, the canary, the query log."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.generation.generation import Identity
from trident.generation.golden import GOLDEN_REQUEST
from trident.generation.state import ServingFolder
from trident.ranking.reranking import Counts
from trident.retrieval.live_retriever import LiveRetriever
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Hits, Retriever
from trident.search.second_stage import SecondStage
from trident.watch.canary import RecallCanary
from trident.watch.catalogue_metrics import GONE_SHARE, SEQUENCE
from trident.watch.options import WatchOptions
from trident.watch.query_log import QueryLog
from trident.watch.serving_metrics import (
    BOUNDS,
    CANARY_METRICS,
    EMPTY,
    QUERY_LOG_METRICS,
    REJECTED,
    RERANK_CUT,
    RERANK_METRICS,
    RERANK_PAIRS,
    RERANK_SECONDS,
    RERANKED,
    RETRIEVER_METRICS,
    SCORE_SUM,
    SEARCHES,
    WAY,
    WEAK,
    MetricInfo,
    ServingMetrics,
)


class SearchWatch:
    """Counts what a retriever answers, and lets the canary draw among it.

    Args:
        retriever: In service.
        families: Triton's ``pb_utils.MetricFamily``.
        model_folder: The model's folder in the repository; ``state.json`` stands beside the repository.
        more: Other counters of the model.
        second: Whose work is counted; None: there is none.
    """

    def __init__(
        self,
        retriever: Retriever,
        families: Any,
        model_folder: Path,
        *,
        more: Sequence[MetricInfo] = (),
        second: SecondStage | None = None,
    ) -> None:
        """Read the variables and start counting."""
        share = WatchOptions.from_environment().canary_share
        reranking = () if second is None else RERANK_METRICS
        counters = (*RETRIEVER_METRICS, *more, *reranking, *(CANARY_METRICS if share else ()))
        self._second, self._reranked = second, Counts()
        state = ServingFolder(model_folder.parents[1])
        self._retriever = retriever
        # Products found (L,), best score (L,), the way of each, and how many answers are weak.
        self._uncounted: deque[tuple[NDArray[np.int32], NDArray[np.float32], tuple[str, ...], int]] = deque()
        self._is_made = False  # whether there are metrics yet to show something with
        self._metrics = ServingMetrics(families, retriever.identity, counters, state=state, collect=self._count)
        self._is_made = True
        self._canary = RecallCanary(retriever.products, self._metrics, share) if share and retriever.is_local else None

    def answered(
        self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], hits: Hits, live: Sequence[bool]
    ) -> None:
        """Take the live ones of B answers to embeddings (B, D) with B knobs; the others are to golden queries.

        They are counted when the metrics are handed over: whoever asked does not wait for it.
        """
        if not any(live):
            return
        counts, scores = hits.counts[:, 0], hits.scores.max(axis=1)  # (B,); by words the nearest may not be the first
        if all(live):
            self._uncounted.append((counts, scores, hits.ways, len(hits.weak)))
        else:
            rows = np.flatnonzero(live)  # (L,)
            ways = tuple(hits.ways[row] for row in rows.tolist())
            self._uncounted.append((counts[rows], scores[rows], ways, len(hits.weak.intersection(rows.tolist()))))
            embeddings, knobs = embeddings[rows], [knobs[row] for row in rows.tolist()]
        if self._canary is not None:
            self._canary.answered(embeddings, knobs)

    def _count(self) -> None:
        """Count what was answered since the last time."""
        if isinstance(self._retriever, LiveRetriever) and self._is_made:
            snapshot = self._retriever.follower.snapshot
            self._metrics.show(SEQUENCE, float(snapshot.number))
            self._metrics.show(GONE_SHARE, snapshot.gone_count / max(snapshot.base_count, 1))
        self._count_second_stage()
        taken = [self._uncounted.popleft() for _ in range(len(self._uncounted))]
        if not taken:
            return
        for way, amount in Counter(way for _, _, ways, _ in taken for way in ways).items():
            self._metrics.add({WAY: amount}, label=way)
        has_score = np.array([way != "browse" for _, _, ways, _ in taken for way in ways], dtype=bool)  # (L,)
        counts, scores = (np.concatenate([part[place] for part in taken]) for place in (0, 1))  # (L,) each
        found = counts > 0  # (L,)
        best = scores[found & has_score].astype(np.float64)  # (F,)
        self._metrics.add_buckets([*((best[:, None] <= BOUNDS).sum(axis=0).tolist()), len(best)])
        self._metrics.add(
            {
                SCORE_SUM: float(np.maximum(best, 0.0).sum()),  # a counter only grows
                EMPTY: int((~found).sum()),
                WEAK: sum(weak for *_, weak in taken),
                SEARCHES: len(found),  # last: who sees it sees the others
            }
        )

    def _count_second_stage(self) -> None:
        if self._second is None or not self._is_made:
            return
        now, before = replace(self._second.reranker.counts), self._reranked
        self._reranked = now
        self._metrics.add(
            {
                RERANKED: now.searches - before.searches,
                RERANK_CUT: now.cut - before.cut,
                RERANK_PAIRS: now.pairs - before.pairs,
                RERANK_SECONDS: now.seconds - before.seconds,
            }
        )

    def rejected(self, queries: int) -> None:
        """Count queries that were turned away."""
        self._metrics.add({REJECTED: queries})

    def close(self) -> None:
        """End the canary, and take the metrics off the port."""
        if self._canary is not None:
            self._canary.close()
        self._metrics.close()


class QueryWatch:
    """Writes queries down where that is wanted.

    Args:
        identity: The generation that answers.
        families: Triton's ``pb_utils.MetricFamily``.
    """

    def __init__(self, identity: Identity, families: Any) -> None:
        """Read the variables."""
        options = WatchOptions.from_environment()
        self._metrics: ServingMetrics | None = None
        self._log: QueryLog | None = None
        if options.query_log is not None:
            self._metrics = ServingMetrics(families, identity, QUERY_LOG_METRICS)
            self._log = QueryLog(
                options.query_log, identity.id, max_bytes=options.query_log_bytes, metrics=self._metrics
            )

    def asked(self, queries: Sequence[str], request_id: str = "", hits: Hits | None = None) -> None:
        """Take the queries of a request, and what was found for them where this model knows it."""
        if self._log is not None:
            self._log.add(queries, request_id, hits)

    def shown(self, request_id: str, hits: Hits) -> None:
        """Take what was found for a request whose queries another model takes."""
        if self._log is not None and request_id and request_id != GOLDEN_REQUEST:
            self._log.add(None, request_id, hits)

    def close(self) -> None:
        """Write what waits."""
        if self._log is not None and self._metrics is not None:
            self._log.close()
            self._metrics.close()

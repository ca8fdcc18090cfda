"""The online canary: a share of live queries is searched exactly too, and what the index missed is counted."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trident.background import Background
from trident.errors import VectorIndexError
from trident.index.exact_search import recall
from trident.index.index import Neighbours
from trident.retrieval.products import Products
from trident.retrieval.requests import SearchKnobs
from trident.watch.serving_metrics import (
    CANARY_DROPPED,
    CANARY_FOUND,
    CANARY_QUERIES,
    CANARY_RECALL,
    CANARY_WANTED,
    ServingMetrics,
)

K = 10  # products compared
WAITING = 32  # queries that may wait
WINDOW = 200  # queries of the gauge
REST = 9.0  # times that a check took: the canary works for a tenth of the time at most

Drawn = tuple[NDArray[np.float32], SearchKnobs]

logger = logging.getLogger(__name__)


class RecallCanary:
    """Recall at 10 of what is searched, measured on what users ask.

    A query is searched again as it was, with its k, ef and filter, which finds the same again unless the catalogue
    changed, and exactly; both over the same products.

    Args:
        products: Returns what is searched now.
        metrics: Where recall is shown and counted.
        share: Of the queries, 0 to 1.
        seed: Of the draw; None: another each time.
    """

    def __init__(
        self,
        products: Callable[[], Products],
        metrics: ServingMetrics,
        share: float,
        *,
        seed: int | None = None,
    ) -> None:
        """Search once and start the thread."""
        self._products = products
        self._metrics = metrics
        self._share = share
        self._draw = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._recalls: deque[float] = deque(maxlen=WINDOW)
        there = products()
        if len(there.rows):
            there.nearest_exactly(there.vectors(there.rows[:1].astype(np.int64)), 1, None)  # not while users wait
        self._work: Background[Drawn] = Background(self._check_all, capacity=WAITING, name="canary")

    def answered(self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs]) -> None:
        """Draw among queries that were answered, embeddings (B, D) with B knobs; never waits."""
        dropped = 0
        for row, knob in enumerate(knobs):
            if knob.page is not None and (knob.page.browses or knob.page.like is not None):
                continue  # there was no query
            if self._draw.random() < self._share:
                dropped += not self._work.offer((embeddings[row : row + 1].copy(), knob))
        if dropped:
            self._metrics.add({CANARY_DROPPED: dropped})

    @property
    def waiting(self) -> int:
        """How many queries wait to be checked."""
        return self._work.waiting

    def close(self) -> None:
        """Check what waits, and end the thread."""
        self._work.close()

    def _check_all(self, drawn: list[Drawn]) -> None:
        for embedding, knob in drawn:
            start = time.monotonic()
            try:
                self._check(embedding, knob)
            except VectorIndexError as error:
                logger.warning("the canary could not search: %s", error)
            self._work.rest(REST * (time.monotonic() - start))

    def _check(self, embedding: NDArray[np.float32], knob: SearchKnobs) -> None:
        products, page = self._products(), knob.page
        permitted = None if page is None or page.filter is None else products.passing(page.filter)
        exact = products.nearest_exactly(embedding, K, permitted)
        found = products.nearest(embedding, max(K, knob.k), knob.ef, permitted)
        count = min(K, len(found.rows))
        asked = Neighbours(found.rows[None, :K], found.scores[None, :K], np.array([count], dtype=np.int32))
        share = recall(asked, exact)
        wanted = int(exact.count[0])
        self._recalls.append(share)
        self._metrics.add({CANARY_QUERIES: 1, CANARY_WANTED: wanted, CANARY_FOUND: round(share * wanted)})
        self._metrics.show(CANARY_RECALL, float(np.mean(self._recalls)))

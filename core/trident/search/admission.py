"""How much of a batch is answered and how much rejected, told without a clock on any request.

Triton's own limits of a queue cost a lone client a wait of half a second now and then (``docs/log/``). A model can
tell as much by itself: a batch with room left in it took everybody who waited, so that whoever comes in a later batch
came after it. The time since then is the longest that anybody can have waited. What cannot be answered before the limit
at the pace of the last batches is rejected now, rather than after a wait. A burst is answered as far as the limit
allows; once that has rejected somebody, batches are short for a while, so that others are told soon, or until hardly
anybody is rejected any more.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from trident.retrieval.tensors import MAX_BATCH

PAUSE_S = 0.05  # between two batches, at least: had anybody waited, the next one had come sooner
PACE_MEMORY = 0.7  # of what was known of the pace, when another batch was answered
PACE_ROWS = 64  # at least, or a full batch: smaller ones are slower a row
PAUSE_SHARE = 0.5  # of the longest wait; a large batch takes a tenth of a second to leave and the next to come
SHORT_SHARE = 0.025  # of the longest wait: what a short batch takes; with less it costs too much beside its rows
SHORT_FOR = 10  # times the longest wait, batches are short at most
FEW = 0.05  # rejected for each answered, during the longest wait: not worth short batches


class Admission:
    """Keeps one model's queue; tell it of every batch.

    Args:
        full_rows: A batch of as many rows or more may have left others waiting.
        max_wait_s: Batches whose rows may have waited longer are rejected, until nobody is left waiting.
        clock: Seconds that only grow.
    """

    def __init__(self, *, full_rows: int, max_wait_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody waits yet."""
        self._full_rows = full_rows
        self._max_wait_s = max_wait_s
        self._pause_s = max(PAUSE_S, PAUSE_SHARE * max_wait_s)
        self._clock = clock
        self._nobody_waited_at = self._ended_at = clock()
        self._answering: tuple[int, float] | None = None  # rows of the batch, and since when
        self._rows_per_s: float | None = None
        self._short_until = self._counted_since = clock()
        self._answered = self._rejected = 0  # requests, since then

    @classmethod
    def of_model(cls, args: Mapping[str, str], *, max_wait_ms: int) -> Admission:
        """Return the admission of a served model.

        Args:
            args: What Triton gives to ``initialize``.
            max_wait_ms: How long a request may wait.
        """
        largest = int(json.loads(args["model_config"])["max_batch_size"])
        return cls(full_rows=largest - MAX_BATCH + 1, max_wait_s=max_wait_ms / 1000)  # the next request may not fit

    def admits(self, rows: Sequence[int]) -> int:
        """Return how many of a batch's requests are answered, the first ones; ``ended`` must be called when they are.

        Args:
            rows: Of each request, in the order in which they came.
        """
        now = self._clock()
        if now - self._ended_at > self._pause_s:
            self._nobody_waited_at = self._short_until = now
        if now - self._counted_since > self._max_wait_s:
            if self._rejected <= FEW * self._answered:
                self._short_until = now  # hardly more comes than is answered
            self._counted_since, self._answered, self._rejected = now, 0, 0
        left_s = self._max_wait_s - (now - self._nobody_waited_at)
        if len(rows) > 1 and self._within(rows, left_s) < len(rows) and now >= self._short_until:
            self._short_until = now + SHORT_FOR * self._max_wait_s
        if now < self._short_until:
            left_s = min(left_s, SHORT_SHARE * self._max_wait_s)
        admitted = len(rows) if len(rows) == 1 else self._within(rows, left_s)  # alone it keeps nobody waiting
        self._answered += admitted
        self._rejected += len(rows) - admitted
        if sum(rows) < self._full_rows:
            self._nobody_waited_at = now
        self._answering = (sum(rows[:admitted]), now) if admitted else None
        return admitted

    def _within(self, rows: Sequence[int], left_s: float) -> int:
        """Return how many requests are answered in some seconds; while there is time, one at least."""
        if left_s < 0:
            return 0
        if self._rows_per_s is None:
            return len(rows)
        return min(len(rows), max(1, bisect_right(list(accumulate(rows)), self._rows_per_s * left_s + 1e-6)))

    def ended(self) -> None:
        """Note that the answers to a batch, or its rejection, are ready."""
        self._ended_at = self._clock()
        if self._answering is not None and self._answering[0] >= min(PACE_ROWS, self._full_rows):
            rows, started = self._answering
            pace = rows / max(self._ended_at - started, 1e-6)
            known = pace if self._rows_per_s is None else self._rows_per_s
            self._rows_per_s = PACE_MEMORY * known + (1 - PACE_MEMORY) * pace

    @property
    def reason(self) -> str:
        """What a rejected request is told."""
        return (
            f"the server is overloaded: requests must not wait longer than {self._max_wait_s:g} s, and more come than "
            "it answers"
        )

"""How much of a batch is answered and how much rejected, told without a clock on any request.

Triton's own limits of a queue cost a lone client a wait of half a second now and then (``docs/log.md``). A model can
tell as much by itself: a batch with room left in it took everybody who waited, so that whoever comes in a later batch
came after it. The time since then is the longest that anybody can have waited. What cannot be answered before the limit
at the pace of the last batches is rejected now, rather than after a wait.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from trident.tensors import MAX_BATCH

PAUSE_S = 0.05  # between two batches, at least: had anybody waited, the next one had come sooner
PACE_MEMORY = 0.7  # of what was known of the pace, when another batch was answered
PACE_SHARE = 0.25  # of a full batch, at least: smaller ones are slower a row
PAUSE_SHARE = 0.5  # of the longest wait; a batch of 256 takes a tenth of a second to leave and the next to come


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
        self._left_waiting = False  # that is, the last batch may have

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
            self._nobody_waited_at, self._left_waiting = now, False
        left_s = self._max_wait_s - (now - self._nobody_waited_at)
        admitted = len(rows) if left_s >= 0 else 0
        if admitted and self._left_waiting and self._rows_per_s is not None:
            admitted = max(1, bisect_right(list(accumulate(rows)), self._rows_per_s * left_s + 1e-6))
        self._left_waiting = sum(rows) >= self._full_rows
        if not self._left_waiting:
            self._nobody_waited_at = now
        self._answering = (sum(rows[:admitted]), now) if admitted else None
        return admitted

    def ended(self) -> None:
        """Note that the answers to a batch, or its rejection, are ready."""
        self._ended_at = self._clock()
        if self._answering is not None and self._answering[0] >= PACE_SHARE * self._full_rows:
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

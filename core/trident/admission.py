"""Whether a batch is answered or rejected, told without a clock on any request.

Triton's own limits of a queue cost a lone client a wait of half a second now and then (``docs/log.md``). A model can
tell as much by itself: a batch with room left in it took everybody who waited, so that whoever comes in a later batch
came after it. The time since then is the longest that anybody can have waited.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_S = 0.05  # between two batches, at least: had anybody waited, the next one had come sooner
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

    def admits(self, rows: int) -> bool:
        """Return whether a batch that has come is answered; ``ended`` must be called when it is."""
        now = self._clock()
        if now - self._ended_at > self._pause_s:
            self._nobody_waited_at = now
        admitted = now - self._nobody_waited_at <= self._max_wait_s
        if rows < self._full_rows:
            self._nobody_waited_at = now
        return admitted

    def ended(self) -> None:
        """Note that the answers to a batch, or its rejection, are ready."""
        self._ended_at = self._clock()

    @property
    def reason(self) -> str:
        """What a rejected request is told."""
        return (
            f"the server is overloaded: requests must not wait longer than {self._max_wait_s:g} s, and more come than "
            "it answers"
        )

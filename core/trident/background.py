"""Work off the request path: one thread, a bounded queue, and a count of what did not fit into it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

WAIT_S = 0.2  # until a thread looks whether it is to end
STOP_TIMEOUT_S = 2.0


class Background(Generic[Item]):
    """A thread that handles items; who offers one never waits.

    Args:
        handle: Gets the items that have come, in their order, at most as many as may wait.
        capacity: Items that may wait; more are dropped.
        name: Of the thread.
    """

    def __init__(self, handle: Callable[[list[Item]], None], *, capacity: int, name: str) -> None:
        """Start the thread."""
        self._handle = handle
        self._items: queue.Queue[Item] = queue.Queue(capacity)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> bool:
        """Return whether the item will be handled; False where the queue is full."""
        try:
            self._items.put_nowait(item)
        except queue.Full:
            return False
        return True

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return self._items.qsize()

    def rest(self, seconds: float) -> None:
        """Let the thread, which calls this, do nothing for a while; ``close`` wakes it."""
        self._stopping.wait(seconds)

    def close(self) -> None:
        """Handle what waits, as far as that goes in ``STOP_TIMEOUT_S``, and end the thread."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _work(self) -> None:
        while True:
            try:
                items = [self._items.get(timeout=WAIT_S)]
            except queue.Empty:
                if self._stopping.is_set():
                    return
                continue
            while len(items) < self._items.maxsize and not self._items.empty():
                items.append(self._items.get_nowait())  # nobody else takes any
            self._handle(items)

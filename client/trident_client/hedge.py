"""Asks a second time beside a question that is slow, and takes the first answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from trident_client.errors import ClientError

THREADS = 32
Found = TypeVar("Found")


class Hedge:
    """Runs questions in threads, each a second time where no answer came for a while.

    Args:
        after_s: That while.
    """

    def __init__(self, after_s: float) -> None:
        """Start nothing yet."""
        self._after_s = after_s
        self._threads: ThreadPoolExecutor | None = None
        self._started_in = 0

    def ask(self, question: Callable[[], Found]) -> Found:
        """Return the first answer to a question; the error of the first where both fail."""
        if self._threads is None or self._started_in != os.getpid():  # threads do not survive a fork
            self._threads, self._started_in = ThreadPoolExecutor(THREADS, "trident-hedge"), os.getpid()
        asked: list[Future[Found]] = [self._threads.submit(question)]
        if not wait(asked, timeout=self._after_s).done:
            asked.append(self._threads.submit(question))
        open_ones = set(asked)
        while open_ones:
            done, open_ones = wait(open_ones, return_when=FIRST_COMPLETED)
            for each in done:
                if each.exception() is None:
                    return each.result()
        return asked[0].result()

    def close(self) -> None:
        """Let the threads end once they have their answers."""
        if self._threads is not None and self._started_in == os.getpid():
            self._threads.shutdown(wait=False)


async def ask_twice(question: Callable[[], Awaitable[Found]], after_s: float) -> Found:
    """Return the first answer to a question, asked again where none came for a while; the other is given up."""
    asked = [asyncio.ensure_future(question())]
    try:
        if not (await asyncio.wait(asked, timeout=after_s))[0]:
            asked.append(asyncio.ensure_future(question()))
        open_ones = set(asked)
        while open_ones:
            done, open_ones = await asyncio.wait(open_ones, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if not isinstance(each.exception(), ClientError):
                    return each.result()
        return asked[0].result()
    finally:
        for each in asked:
            each.cancel()

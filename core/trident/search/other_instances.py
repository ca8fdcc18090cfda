"""Whether the other instances of a served model are busy: each is a process of its own, and all want the same cores.

While an instance answers it holds a lock on a file that all of them see; whoever comes tries to have it alone. That
takes two calls of the system, writes nothing, and the system lets go of the lock of an instance that dies.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_S = 0.05  # another client's next query comes sooner than that
REST_S = 0.001
SMALL = 0.5  # of the mean batch
BATCH_MEMORY = 0.9  # of what was known of the mean, when another batch was answered


class OtherInstances:
    """The instances of a model beside this one.

    Args:
        file: One that every instance can read; its content does not matter. On a file system without locks the others
            count as busy.
        clock: Seconds that only grow.

    Raises:
        OSError: If the file cannot be read.
    """

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the file."""
        self._file = file.open("rb")
        self._clock = clock
        self._quiet_from = clock()

    @contextmanager
    def answering(self) -> Iterator[bool]:
        """Have the others see that this instance answers; yield whether none of them has for ``QUIET_S``."""
        if not self._lock(fcntl.LOCK_EX):
            self._quiet_from = self._clock() + QUIET_S
        self._lock(fcntl.LOCK_SH)  # one that another has just taken alone is not waited for: it has seen this instance
        try:
            yield self._clock() >= self._quiet_from
        finally:
            self._lock(fcntl.LOCK_UN)

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Gathering:
    """Has requests come together while several instances are busy.

    An instance takes what waits as soon as it is free. Where it comes in the middle of the next queries of another
    batch's clients, it takes a few, and a small batch costs a row more. After one it rests for a moment, which another
    instance or the server uses, and its next batch is larger.

    Args:
        sleep: Lets seconds pass.
    """

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """No batch is known yet."""
        self._sleep = sleep
        self._mean = 0.0

    def answered(self, requests: int) -> None:
        """Rest if a batch that was answered beside others, of so many requests, was small."""
        self._mean = BATCH_MEMORY * self._mean + (1 - BATCH_MEMORY) * requests
        if requests < SMALL * self._mean:
            self._sleep(REST_S)

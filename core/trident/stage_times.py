"""How long the stages of a batch took, where somebody asked; where nobody did, a stage costs a look at a variable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

REST = "rest"  # what no stage took
DIGITS = 3  # of milliseconds

_times: ContextVar[StageTimes | None] = ContextVar("stage_times", default=None)
_nothing = nullcontext()


class StageTimes:
    """Adds up the time of each stage; a stage within another one is not counted as the outer one's.

    Args:
        clock: Seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin with what no stage takes."""
        self._clock, self._since = clock, clock()
        self._seconds: dict[str, float] = {}
        self._rest_s = 0.0
        self._open: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as a stage's."""
        self._look()
        self._seconds.setdefault(name, 0.0)
        self._open.append(name)
        try:
            yield
        finally:
            self._look()
            self._open.pop()

    def milliseconds(self) -> dict[str, float]:
        """Return what each stage took until now, in the order in which they began, and last the rest."""
        self._look()
        every = {**self._seconds, REST: self._rest_s}
        return {name: round(seconds * 1000, DIGITS) for name, seconds in every.items()}

    def _look(self) -> None:
        """Give the time since the last look to the innermost open stage."""
        now = self._clock()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        else:
            self._rest_s += now - self._since
        self._since = now


@contextmanager
def measured(*, is_asked: bool) -> Iterator[StageTimes | None]:
    """Yield the times of the stages that are run inside, by this thread; None where nobody asked."""
    if not is_asked:
        yield None
        return
    times = StageTimes()
    token = _times.set(times)
    try:
        yield times
    finally:
        _times.reset(token)


def stage(name: str) -> AbstractContextManager[None]:
    """Return what counts as a stage's time what happens inside, where somebody asked."""
    times = _times.get()
    return _nothing if times is None else times.stage(name)

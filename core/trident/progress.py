"""Consoles that take texts as they are, and the progress of long work: a bar on a terminal, else a line at times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 30.0


def plain_console(*, stderr: bool, width: int | None = None) -> Console:
    """Return a console that shows texts as they are: queries, titles and names of files have brackets and colons.

    Args:
        stderr: Whether it writes to standard error, else to standard output.
        width: Columns; None: those of the terminal.
    """
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


class Lines:
    """Says in a line, every ``LINE_EVERY_S``, how far long work has come: in a log, silence looks like an end.

    Args:
        console: Where to print.
        label: What is being done.
        total: Items in all; None when it is not known.
        clock: Seconds that go on.
    """

    def __init__(
        self, console: Console, label: str, total: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to count; see the class for the arguments."""
        self._console, self._label, self._total, self._clock = console, label, total, clock
        self._done = self._said = 0
        self._said_at = clock()

    def advance(self, items: int) -> None:
        """Count items, and say so where it is time."""
        self._done += items
        passed = self._clock() - self._said_at
        if passed < LINE_EVERY_S:
            return
        speed = (self._done - self._said) / passed
        self._said, self._said_at = self._done, self._clock()
        line = f"{self._label}: {self._done:,}" + ("" if self._total is None else f" of {self._total:,}")
        line += f", {speed:,.0f}/s"
        if self._total is not None and speed:
            line += f", about {time_text((self._total - self._done) / speed)} left"
        self._console.print(line, soft_wrap=True)


def time_text(seconds: float) -> str:
    """Return a time as people read it, such as ``12 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress_bar(console: Console, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that moves a bar forward by a number of items; off a terminal it prints a line now and then.

    Args:
        console: Where to draw; should write to standard error.
        label: What is being done.
        total: Items in all; None when it is not known.
    """
    if not console.is_terminal:
        yield Lines(console, label, total).advance
        return
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total, rate="")

        def advance(items: int) -> None:
            progress.advance(task, items)
            speed = progress.tasks[0].speed
            if speed:
                progress.update(task, rate=f"{speed:,.0f}/s")

        yield advance

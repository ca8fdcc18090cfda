"""Consoles that take texts as they are, and the progress of long work: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def plain_console(*, stderr: bool, width: int | None = None) -> Console:
    """Return a console that shows texts as they are: queries, titles and names of files have brackets and colons.

    Args:
        stderr: Whether it writes to standard error, else to standard output.
        width: Columns; None: those of the terminal.
    """
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def progress_bar(console: Console, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that moves a bar forward by a number of items.

    Args:
        console: Where to draw; should write to standard error.
        label: What is being done.
        total: Items in all; None when it is not known.
    """
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total, rate="")

        def advance(items: int) -> None:
            progress.advance(task, items)
            speed = progress.tasks[0].speed
            if speed:
                progress.update(task, rate=f"{speed:,.0f}/s")

        yield advance

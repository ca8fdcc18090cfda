"""How ``trident train`` and ``trident cross-validate`` show how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trident.commands.output import messages, say


def progress_bar() -> Progress:
    """Return the line that shows how far a training is; none where nobody looks."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    )


def show(progress: Progress) -> Callable[[Any], None]:
    """Return what shows the events of a training: steps in the line, epochs in lines of their own."""
    task = progress.add_task("training", total=None, note="reading")

    def show_entry(entry: Any) -> None:
        if hasattr(entry, "score"):
            figures = ", ".join(f"{name} {value:.4f}" for name, value in entry.validation.items())
            speed = f"{entry.pairs / entry.seconds:,.0f} pairs/s, {entry.seconds:.0f} s"
            say(f"epoch {entry.epoch}: loss {entry.mean_loss:.4f}, validation {figures}, {speed}")
        elif hasattr(entry, "loss"):
            progress.update(task, completed=entry.step, total=entry.steps, note=f"loss {entry.loss:.4f}")
        else:
            progress.update(task, note=entry.name)

    return show_entry

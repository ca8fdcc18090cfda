"""Options that ``trident bench`` and ``trident tune`` share, and what both do around a measurement."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from trident.commands.output import need
from trident.rights import require_writable

Queries = Annotated[Path, typer.Option(help="A file with a column query: pairs, or a query log.")]
Generations = Annotated[Path, typer.Option(help="The folder of generations.")]
GenerationId = Annotated[str | None, typer.Option(help="Id; the newest by default.")]
Count = Annotated[int, typer.Option(help="Queries to draw at most.")]
Mix = Annotated[str, typer.Option(help="distinct, zipf (popular ones often) or log (as in the file).")]
Seed = Annotated[int, typer.Option(help="Of the drawing.")]
Out = Annotated[Path | None, typer.Option(help="Write the whole report as JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Print the whole report as one JSON document.")]


def end_with_server() -> None:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, so that the server that it started is stopped too."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)


def plotting(plot: Path | None) -> Any:
    """Return ``trident.bench.plot``, after checking before any measurement that a plot can be written if one is asked.

    Raises:
        BenchError: If the file's ending is none that is written.
        MissingExtraError: If matplotlib is not installed.
    """
    plots = need("bench", "trident.bench.plot")
    if plot is not None:
        plots.check_plot_path(plot)
        require_writable(plot)
        need("bench", "matplotlib")
    return plots

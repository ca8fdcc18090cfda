"""Options that several commands share: how files are read, and what bench and tune do around a measurement."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trident.commands.output import need
from trident.data.reading import COMMAND, Options, Reading, parse_columns
from trident.errors import GenerationError

if TYPE_CHECKING:
    from trident.data.labels import LabelRule

Column = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COLUMN", help="The file's own name for a column, such as query=search_term."),
]
Encoding = Annotated[str | None, typer.Option(help="Of a text file that is not UTF-8, such as cp1252 or utf-16.")]
CatalogueColumn = Annotated[
    list[str] | None, typer.Option(metavar="NAME=COLUMN", help="The catalogue's own name for a column.")
]
CatalogueEncoding = Annotated[str | None, typer.Option(help="Of the catalogue where it is text and not UTF-8.")]
PositiveFrom = Annotated[
    float | None, typer.Option(help="Labels of at least this value are relevant; with --gain, gains.")
]
Gain = Annotated[
    list[str] | None, typer.Option(metavar="LABEL=GAIN", help="What a label is worth, such as E=1; several times.")
]
Queries = Annotated[
    Path, typer.Option(help="Pairs or a query log: a file with a column query, or .txt, one query a line.")
]
Generations = Annotated[Path, typer.Option(help="The folder of generations.")]
GenerationId = Annotated[str | None, typer.Option(help="Id; the newest by default.")]
Count = Annotated[int, typer.Option(help="Queries to draw at most.")]
Mix = Annotated[str, typer.Option(help="distinct, zipf (popular ones often) or log (as in the file).")]
Out = Annotated[Path | None, typer.Option(help="Write the whole report as JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Print the whole report as one JSON document.")]


def require_folder(generations: Path) -> None:
    """Check that a folder of generations is there, where a command only looks.

    Raises:
        GenerationError: If it is not.
    """
    if not generations.is_dir():
        what = "a file" if generations.exists() else "no such folder"
        raise GenerationError(f"--generations must be a folder of generations, got {generations} ({what})")


def end_with_server() -> None:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, so that the server that it started is stopped too."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)


def reading_of(
    column: list[str] | None,
    encoding: str | None,
    known: Sequence[str],
    options: Options = COMMAND,
    *,
    option: str = "--column",
) -> Reading:
    """Return how a file is read.

    Raises:
        ConfigError: If an item of the option is no NAME=COLUMN, or its name is not among ``known``.
    """
    return Reading(columns=parse_columns(column or [], known, option), encoding=encoding, options=options)


def label_rule(extra: str, positive_from: float | None, gain: list[str] | None) -> LabelRule:
    """Return which labels are relevant; ``extra`` is that of the command.

    Raises:
        ConfigError: If an item of ``--gain`` is no LABEL=GAIN.
    """
    labels = need(extra, "trident.data.labels")
    rule: LabelRule = labels.LabelRule(positive_from=positive_from, gains=labels.parse_gains(gain or []))
    return rule

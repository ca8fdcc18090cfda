"""Where commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import warnings
from types import ModuleType
from typing import Any, TypeVar

from rich.table import Table

from trident.config import apply_override, from_table
from trident.errors import MissingExtraError
from trident.progress import plain_console

LEFT = ("server", "load", "model", "settings")
WIDEST = 1000  # columns of a table that is written to a file

T = TypeVar("T")

messages = plain_console(stderr=True)


def first_process() -> bool:
    """Return whether this is the process that speaks, where a launcher has started several."""
    return os.environ.get("RANK", "0") == "0"


def print_json(document: Any) -> None:
    """Print one JSON document on standard output; NaN becomes null."""
    sys.stdout.write(compact(document) + "\n")
    sys.stdout.flush()


def compact(document: Any) -> str:
    """Return a document as JSON in one line."""
    return json.dumps(_without_nan(document), ensure_ascii=False)


def figures_table(title: str, *columns: str) -> Table:
    """Return an empty table of figures, which stand to the right, and of what they are of, in ``LEFT``'s columns."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in LEFT else "right")
    return table


def print_table(table: Table) -> None:
    """Print a table on standard output, at its full width where that is no terminal."""
    _print(table, stderr=False)


def say_table(table: Table) -> None:
    """Print a table on standard error, at its full width where that is no terminal."""
    _print(table, stderr=True)


def _print(table: Table, *, stderr: bool) -> None:
    console = plain_console(stderr=stderr)
    if not console.is_terminal:
        widest = plain_console(stderr=stderr, width=WIDEST).measure(table).maximum
        console = plain_console(stderr=stderr, width=widest)
    console.print(table)


def from_set(config_class: type[T], items: list[str] | None) -> T:
    """Return a configuration with the ``--set KEY=VALUE`` of a command line."""
    table: dict[str, Any] = {}
    for item in items or []:
        apply_override(table, item)
    return from_table(config_class, table, where="--set")


def say(text: str, style: str | None = None) -> None:
    """Print a line on standard error as it is, never broken into several."""
    messages.print(text, style=style, soft_wrap=True)


def need(extra: str, module: str) -> ModuleType:
    """Import a module of an extra, after setting up logging.

    Raises:
        MissingExtraError: If a package of the extra is not installed.
    """
    set_up_logging()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0].startswith("trident"):
            raise
        raise MissingExtraError(
            f"this command needs {error.name}: run pip install 'trident-search[{extra}]'"
        ) from error


def set_up_logging() -> None:
    """Send our logs, and nobody else's, to standard error."""
    warnings.simplefilter("ignore")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("trident", "trident_train", "trident_export", "trident_client"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it says that it builds its font cache


def quiet_transformers() -> None:
    """Switch off the progress bars of transformers, which would stand between ours."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value

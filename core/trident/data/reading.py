"""What a user says about a file of pairs, products or queries: its own column names, its encoding.

``Options`` says how the command calls the options that say so, so that every error names one that is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trident.errors import ConfigError, nearest

PAIR_COLUMNS = ("query", "product_title", "relevance_label", "product_id", "grade", "split", "product_locale")
CATALOGUE_COLUMNS = ("product_id", "product_title", "product_locale")
QUERY_COLUMNS = ("query",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a command calls the options that say how a file is read.

    ``column`` holds ``{name}``, of the contract, and ``{column}``, of the file; the others hold what they are given.
    ``gain`` is that of one label; several are joined by ``gains_between`` and put into ``gains``.
    """

    column: str = "--column {name}={column}"
    encoding: str = "--encoding {encoding}"
    positive_from: str = "--positive-from {value}"
    gain: str = "--gain {label}={gain}"
    gains: str = "{gains}"
    gains_between: str = " "
    contradictions: str = "--contradictions drop"
    catalogue_column: str = ""  # where the command reads a catalogue beside pairs

    def map_column(self, name: str, column: str = "COLUMN") -> str:
        """Return the option that maps a column."""
        return self.column.format(name=name, column=column)

    def map_gains(self, gains: Mapping[str, float]) -> str:
        """Return the option that gives labels their gains."""
        each = self.gains_between.join(
            self.gain.format(label=label if re.fullmatch(r"[\w-]+", label) else json.dumps(label), gain=gain)
            for label, gain in gains.items()
        )
        return self.gains.format(gains=each)


COMMAND = Options()
COMMAND_PAIRS = Options(catalogue_column="--catalogue-column {name}={column}")  # beside a catalogue
COMMAND_CATALOGUE = Options(
    column="--catalogue-column {name}={column}", encoding="--catalogue-encoding {encoding}"
)  # beside pairs
EXPORT_CATALOGUE = Options(column="--set columns.{name}={column}", encoding="--set encoding={encoding}")


def recipe_options(table: str = "data") -> Options:
    """Return how a table of a recipe, such as ``data.sources.films``, calls them."""
    return Options(
        column=f'{table}.columns.{{name}} = "{{column}}"',
        encoding=f'{table}.encoding = "{{encoding}}"',
        positive_from=f"{table}.positive_from = {{value}}",
        gain="{label} = {gain}",
        gains=f"{table}.gains = {{{{ {{gains}} }}}}",
        gains_between=", ",
        contradictions="data.contradictions=drop",
        catalogue_column=f'{table}.catalogue_columns.{{name}} = "{{column}}"',
    )


def recipe_catalogue_options(table: str = "data") -> Options:
    """Return how a table of a recipe calls the options of its catalogue."""
    return Options(
        column=f'{table}.catalogue_columns.{{name}} = "{{column}}"',
        encoding=f'{table}.catalogue_encoding = "{{encoding}}"',
    )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How one file is read.

    Attributes:
        columns: From a name of the contract (``product_title``) to the file's own name for it (``title``).
        encoding: Of a text file; None: UTF-8, or what a byte order mark says.
        options: How the command calls the options that say so.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    options: Options = COMMAND


def check_columns(columns: Mapping[str, str], known: Sequence[str], option: str) -> None:
    """Raise unless every name that is mapped is one of the contract, and is mapped to something.

    Raises:
        ConfigError: Naming the option, the name and the nearest one.
    """
    for name, column in columns.items():
        if name not in known:
            raise ConfigError(f"{option}: unknown name '{name}'{nearest(name, known)} (known: {', '.join(known)})")
        if not column.strip():
            raise ConfigError(f"{option}: '{name}' must be mapped to a column, got none")


def parse_columns(items: Iterable[str], known: Sequence[str], option: str = "--column") -> dict[str, str]:
    """Return the ``NAME=COLUMN`` items of an option as a mapping.

    Raises:
        ConfigError: If an item has no ``=``, a name is not one of the contract, or is given twice.
    """
    columns: dict[str, str] = {}
    for item in items:
        name, separator, column = item.partition("=")
        if not separator or not column:
            raise ConfigError(f"{option} takes NAME=COLUMN, got '{item}'")
        if name in columns and columns[name] != column:
            raise ConfigError(f"{option} maps a name once, got '{name}' to '{columns[name]}' and to '{column}'")
        columns[name] = column
    check_columns(columns, known, option)
    return columns

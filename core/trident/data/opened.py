"""What every format gives: a table whose column names are known, and whose columns can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Wanted:
    """Which columns somebody needs: those of the contract, as the file calls them, or all others as well."""

    contract: frozenset[str]
    others: bool = False

    def __contains__(self, name: str) -> bool:
        """Return whether a column is to be read if it is there."""
        return self.others or name in self.contract


@dataclass(frozen=True)
class OpenedTable:
    """A table before its columns are read.

    Attributes:
        names: Of all columns in order; some may be empty, or equal.
        rows: How many, None if that is known only after reading.
        read: Gives the columns at some positions, which must be wanted ones, in that order; names and types are free.
        guessed: The file knows no types: what its text stands for is guessed.
    """

    names: Sequence[str]
    rows: int | None
    read: Callable[[Sequence[int]], pa.Table]
    guessed: bool = False

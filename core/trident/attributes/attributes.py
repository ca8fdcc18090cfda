"""The attributes of a generation's products, mapped: values of rows, and rows of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trident.attributes.arrays import ArrayFile
from trident.attributes.building import ARRAYS_FILE, COUNT
from trident.attributes.schema import SCHEMA_FILE, Field, Schema
from trident.errors import GenerationError

Rows = NDArray[np.uint32]  # of products, ascending unless it is said otherwise


class Texts:
    """Texts one after the other in UTF-8, and where each ends."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """Keep both."""
        self._text, self._ends = text, ends

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ends)

    def __getitem__(self, place: int) -> str:
        """Return one of them."""
        return self.encoded(place).decode()

    def encoded(self, place: int) -> bytes:
        """Return one of them as it is kept."""
        start = int(self._ends[place - 1]) if place else 0
        return self._text[start : int(self._ends[place])].tobytes()

    def place(self, text: str) -> int:
        """Return where a text stands, or would stand, among them, where they are in order."""
        wanted = text.encode("utf-8", errors="surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.encoded(middle) < wanted else (low, middle)
        return low

    def find(self, text: str) -> int | None:
        """Return the place of a text, where they are in order; None: it is none of them."""
        place = self.place(text)
        is_there = place < len(self) and self.encoded(place) == text.encode("utf-8", errors="surrogatepass")
        return place if is_there else None


class ValueColumn:
    """A keyword, boolean or list field: the different values, and the rows of each."""

    def __init__(self, arrays: ArrayFile, field: Field) -> None:
        """Map the arrays."""
        name = field.name
        self.is_list = field.type == "list"
        self.is_boolean = field.type == "boolean"
        self.texts = Texts(arrays[f"{name}/text"], arrays[f"{name}/ends"])
        self.codes: NDArray[np.uint32] = arrays[f"{name}/codes"]  # (N,), of a list (E,)
        self.starts: NDArray[np.int64] = arrays[f"{name}/starts"]
        self.missing = len(self.texts)  # the code of no value
        self._rows: Rows = arrays[f"{name}/rows"]
        self._row_starts: NDArray[np.int64] | None = arrays[f"{name}/row_starts"] if self.is_list else None

    def code(self, value: Any) -> int | None:
        """Return the code of a value; None where no product has it."""
        return self.texts.find(self.text(value))

    def text(self, value: Any) -> str:
        """Return the text that a value is kept as."""
        return str(value).lower() if self.is_boolean else value

    def shown(self, code: int) -> Any:
        """Return the value of a code, as JSON has it."""
        text = self.texts[code]
        return text == "true" if self.is_boolean else text

    def size(self, code: int) -> int:
        """Return how many rows have a value."""
        return int(self.starts[code + 1] - self.starts[code])

    def rows(self, code: int) -> Rows:
        """Return the rows of a value."""
        return self._rows[self.starts[code] : self.starts[code + 1]]

    def value(self, row: int) -> Any:
        """Return what a product has; None: nothing."""
        if self._row_starts is not None:
            codes = self.codes[self._row_starts[row] : self._row_starts[row + 1]]
            return [self.texts[int(code)] for code in codes] or None
        code = int(self.codes[row])
        return None if code == self.missing else self.shown(code)

    def counts(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many of some rows have each value, (V + 1,); the last is how many have none."""
        if self._row_starts is None:
            return np.bincount(self.codes[rows], minlength=self.missing + 1)
        starts, ends = self._row_starts[rows], self._row_starts[np.asarray(rows, dtype=np.int64) + 1]
        lengths = ends - starts
        inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        counts = np.bincount(self.codes[np.repeat(starts, lengths) + inside], minlength=self.missing + 1)
        counts[self.missing] = int((lengths == 0).sum())
        return counts

    def keys(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers in whose order the values of rows stand; NaN: missing. Not of lists."""
        codes: NDArray[np.float64] = self.codes[rows].astype(np.float64)
        codes[codes == self.missing] = np.nan
        return codes


class NumberColumn:
    """A number field: its values in order, and where each row stands in it."""

    def __init__(self, arrays: ArrayFile, field: Field) -> None:
        """Map the arrays."""
        self.sorted: NDArray[np.float64] = arrays[f"{field.name}/sorted"]
        self.order: Rows = arrays[f"{field.name}/rows"]  # in the order of the values, and so not ascending
        self.ranks: NDArray[np.uint32] = arrays[f"{field.name}/ranks"]
        self.missing = len(self.sorted)  # the first rank of no value

    def value(self, row: int) -> float | int | None:
        """Return what a product has, a whole number without a point; None: nothing."""
        rank = int(self.ranks[row])
        return plain_number(float(self.sorted[rank])) if rank < self.missing else None

    def keys(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values of rows; NaN: missing."""
        ranks = self.ranks[rows]
        there = ranks < self.missing
        keys = np.full(len(ranks), np.nan)
        keys[there] = self.sorted[ranks[there]]
        return keys


class DisplayColumn:
    """Text that is given back only."""

    def __init__(self, arrays: ArrayFile, field: Field) -> None:
        """Map the arrays."""
        self._texts = Texts(arrays[f"{field.name}/text"], arrays[f"{field.name}/ends"])

    def value(self, row: int) -> str | None:
        """Return what a product has; None: nothing."""
        return self._texts[row] or None


def plain_number(number: float) -> float | int:
    """Return a number as JSON has it: a whole one without a point."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


@dataclass(frozen=True, eq=False)
class ValueCounts:
    """How many products have each value of a field.

    Attributes:
        codes: (C,) of the values that one has at least, in the order of the values.
        counts: (C,) of each.
        missing: How many have no value.
        shown: Returns the value of a code, as JSON has it.
    """

    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    missing: int
    shown: Callable[[int], Any]


class AttributeValues(Protocol):
    """The attributes of products that are numbered, wherever they are kept."""

    @property
    def schema(self) -> Schema:
        """The fields."""

    def keys(self, name: str, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers in whose order the values of rows stand, of a number itself; NaN: missing. Not of lists."""

    def counts(self, name: str, rows: NDArray[Any]) -> ValueCounts:
        """Return how many of some rows have each value of a keyword, boolean or list."""

    def of_row(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """Return some attributes of a product by name; None: it has no such value."""


Column = ValueColumn | NumberColumn | DisplayColumn
COLUMNS: dict[str, Callable[[ArrayFile, Field], Column]] = {"number": NumberColumn, "display": DisplayColumn}


class Attributes:
    """The attributes of N products; ``load`` them.

    Args:
        schema: Of the fields.
        arrays: Theirs.
        count: N.
    """

    def __init__(self, schema: Schema, arrays: ArrayFile | None, count: int) -> None:
        """Map the arrays."""
        self.schema = schema
        self.count = count
        self._columns: dict[str, Column] = {}
        if arrays is None:
            return
        for field in schema.fields:
            self._columns[field.name] = COLUMNS.get(field.type, ValueColumn)(arrays, field)

    @classmethod
    def load(cls, folder: Path) -> Attributes:
        """Return the attributes that an export wrote into a folder.

        Raises:
            GenerationError: If a file is missing or damaged.
        """
        arrays = ArrayFile(folder / ARRAYS_FILE)
        return cls(Schema.load(folder / SCHEMA_FILE), arrays, int(arrays[COUNT][0]))

    @classmethod
    def none(cls, count: int) -> Attributes:
        """Return those of N products that have none."""
        return cls(Schema(), None, count)

    @cached_property
    def all_rows(self) -> Rows:
        """The rows of all products, ascending, (N,); made when it is first needed, not to be written to."""
        rows = np.arange(self.count, dtype=np.uint32)
        rows.flags.writeable = False
        return rows

    def require_count(self, count: int, where: str) -> None:
        """Raise unless they are of so many products.

        Raises:
            GenerationError: Naming both numbers.
        """
        if self.count != count:
            raise GenerationError(
                f"attributes and catalogue of {where} must have the same number of products, got {self.count:,} and "
                f"{count:,}: export again"
            )

    def values_of(self, name: str) -> ValueColumn:
        """Return a keyword, boolean or list field."""
        column = self._columns[name]
        assert isinstance(column, ValueColumn)
        return column

    def numbers_of(self, name: str) -> NumberColumn:
        """Return a number field."""
        column = self._columns[name]
        assert isinstance(column, NumberColumn)
        return column

    def column(self, name: str) -> Column:
        """Return any field."""
        return self._columns[name]

    def keys(self, name: str, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers in whose order the values of rows stand, of a number itself; NaN: missing. Not of lists."""
        column = self._columns[name]
        assert not isinstance(column, DisplayColumn)
        return column.keys(rows)

    def counts(self, name: str, rows: NDArray[Any]) -> ValueCounts:
        """Return how many of some rows have each value of a keyword, boolean or list."""
        values = self.values_of(name)
        counts = values.counts(rows)
        codes = np.flatnonzero(counts[:-1])
        return ValueCounts(codes, counts[codes], int(counts[-1]), values.shown)

    def of_row(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """Return some attributes of a product by name; None: it has no such value."""
        return {name: self._columns[name].value(row) for name in names}


NO_ATTRIBUTES = Attributes(Schema(), None, 0)

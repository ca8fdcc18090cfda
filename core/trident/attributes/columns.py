"""Attributes of products that changed since a generation, by place: a column for each field, which grows.

A place is written once, so that an older snapshot goes on being right while a newer one grows. Values have the codes
that they have in the generation; those that it lacks follow.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, ValueColumn, ValueCounts, plain_number
from trident.attributes.schema import Field, fits

Places = NDArray[np.int64]


class Values:
    """A keyword, boolean or list.

    Args:
        base: Of the generation.
        field: Of the schema.
    """

    def __init__(self, base: ValueColumn, field: Field) -> None:
        """Begin without a place."""
        self.base, self._field = base, field
        self._new: list[str] = []  # values that the generation lacks
        self._code_of: dict[str, int] = {}  # of texts that were looked up
        self._codes: NDArray[np.int64] = np.zeros(16, dtype=np.int64)  # (E,) one a value
        self._starts: NDArray[np.int64] = np.zeros(1, dtype=np.int64)  # (P + 1,) where those of a place begin
        self._sorted: list[tuple[int, bytes, int]] = []  # place among the base's values, text and number of new ones
        self._positions: NDArray[np.float64] = np.zeros(0)
        self._sorting = threading.Lock()

    def reserve(self, capacity: int) -> None:
        """Have room for so many places."""
        self._starts = _grown(self._starts, capacity + 1)

    def set(self, place: int, value: Any) -> None:
        """Write the next place; what is of another type, as another generation may have it, is missing."""
        values = value if isinstance(value, list) and self.base.is_list else [value]
        codes = [self._added(self.base.text(each)) for each in values if each is not None and fits(self._field, each)]
        start = int(self._starts[place])
        if start + len(codes) > len(self._codes):
            self._codes = _grown(self._codes, 2 * (start + len(codes)))
        self._codes[start : start + len(codes)] = codes
        self._starts[place + 1] = start + len(codes)

    def code(self, value: Any) -> int | None:
        """Return the code of a value; None: no product has it."""
        text = self.base.text(value)
        known = self._code_of.get(text)
        return self.base.texts.find(text) if known is None else known

    def shown(self, code: int) -> Any:
        """Return the value of a code, as JSON has it."""
        if code < self.base.missing:
            return self.base.shown(code)
        text = self._new[code - self.base.missing - 1]
        return text == "true" if self.base.is_boolean else text

    def elements(self, places: Places) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the codes of places, one after the other, (E,), and which of the places each belongs to."""
        starts = self._starts[places]
        lengths = self._starts[places + 1] - starts
        inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self._codes[np.repeat(starts, lengths) + inside], np.repeat(np.arange(len(places)), lengths)

    def has(self, codes: list[int], places: Places) -> NDArray[np.bool_]:
        """Return which places have one of some values."""
        if not self.base.is_list:  # one at most
            starts = self._starts[places]
            own = self._codes[np.minimum(starts, len(self._codes) - 1)]
            wanted = own == codes[0] if len(codes) == 1 else np.isin(own, codes)
            return np.asarray(wanted & (self._starts[places + 1] > starts))
        own, line = self.elements(places)
        mask = np.zeros(len(places), dtype=bool)
        mask[line[np.isin(own, codes)]] = True
        return mask

    def is_missing(self, places: Places) -> NDArray[np.bool_]:
        """Return which places have no value."""
        return np.equal(self._starts[places + 1], self._starts[places])

    def keys(self, places: Places) -> NDArray[np.float64]:
        """Return numbers in whose order the values of places stand, the base's among them; NaN: missing."""
        codes, line = self.elements(places)
        keys = np.full(len(places), np.nan)
        keys[line] = self._order(codes)
        return keys

    def counts(self, of_base: NDArray[np.int64], places: Places) -> ValueCounts:
        """Return the counts of places and those that the base's column gives for other rows."""
        codes, line = self.elements(places)
        counts = np.bincount(codes, minlength=len(of_base))
        counts[: len(of_base)] += of_base
        missing = int(counts[self.base.missing]) + len(places) - len(np.unique(line))
        counts[self.base.missing] = 0
        found = np.flatnonzero(counts)
        found = found[np.argsort(self._order(found), kind="stable")]
        return ValueCounts(found, counts[found], missing, self.shown)

    def value(self, place: int) -> Any:
        """Return what a place has; None: nothing."""
        codes = self._codes[int(self._starts[place]) : int(self._starts[place + 1])].tolist()
        if self.base.is_list:
            return [self.shown(code) for code in codes] or None
        return self.shown(codes[0]) if codes else None

    def take(self, places: Places) -> Values:
        """Return a column of some of the places, without values that none of them has."""
        taken = Values(self.base, self._field)
        codes, line = self.elements(places)
        taken._starts = np.concatenate([[0], np.cumsum(np.bincount(line, minlength=len(places)))])
        first = self.base.missing + 1  # code of the first new value
        is_new = codes >= first
        used = np.unique(codes[is_new])
        codes[is_new] = first + np.searchsorted(used, codes[is_new])
        taken._codes = _grown(codes, len(codes) + 1)  # never empty: ``has`` looks at the last
        taken._new = [self._new[code - first] for code in used.tolist()]
        taken._code_of = {text: first + number for number, text in enumerate(taken._new)}
        return taken

    def _added(self, text: str) -> int:
        code = self._code_of.get(text)
        if code is None:
            code = self.base.texts.find(text)
            if code is None:
                self._new.append(text)
                code = self.base.missing + len(self._new)
            self._code_of[text] = code
        return code

    def _order(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        order = codes.astype(np.float64)
        is_new = codes > self.base.missing
        if is_new.any():
            order[is_new] = self._new_positions()[codes[is_new] - self.base.missing - 1]
        return order

    def _new_positions(self) -> NDArray[np.float64]:
        """Return where each new value stands among the base's: those between two of them share the gap."""
        with self._sorting:
            count = len(self._new)
            if len(self._positions) < count:
                more = range(len(self._positions), count)
                texts = self._new
                self._sorted += [(self.base.texts.place(texts[each]), texts[each].encode(), each) for each in more]
                self._sorted.sort()
                gaps = np.array([gap for gap, _, _ in self._sorted])
                rank = np.arange(count) - np.searchsorted(gaps, gaps)  # within the gap
                positions = np.empty(count)
                positions[[number for _, _, number in self._sorted]] = gaps - 1 + (rank + 1) / (count + 1)
                self._positions = positions
            return self._positions


class Numbers:
    """A number of each place; NaN: missing."""

    def __init__(self) -> None:
        """Begin without a place."""
        self._numbers: NDArray[np.float64] = np.zeros(0)

    def reserve(self, capacity: int) -> None:
        """Have room for so many places."""
        self._numbers = _grown(self._numbers, capacity)

    def set(self, place: int, value: Any) -> None:
        """Write the next place; what is of another type is missing."""
        self._numbers[place] = float(value) if fits(NUMBER, value) else np.nan

    def keys(self, places: Places) -> NDArray[np.float64]:
        """Return the numbers of places; NaN: missing."""
        return self._numbers[places]

    def value(self, place: int) -> float | int | None:
        """Return what a place has; None: nothing."""
        number = float(self._numbers[place])
        return None if np.isnan(number) else plain_number(number)

    def take(self, places: Places) -> Numbers:
        """Return a column of some of the places."""
        taken = Numbers()
        taken._numbers = self._numbers[places]
        return taken


class Displays:
    """A text of each place that is given back only."""

    def __init__(self) -> None:
        """Begin without a place."""
        self._texts: NDArray[np.object_] = np.zeros(0, dtype=np.object_)

    def reserve(self, capacity: int) -> None:
        """Have room for so many places."""
        self._texts = _grown(self._texts, capacity)

    def set(self, place: int, value: Any) -> None:
        """Write the next place."""
        self._texts[place] = value if isinstance(value, str) else None

    def value(self, place: int) -> str | None:
        """Return what a place has; None: nothing."""
        found: str | None = self._texts[place]
        return found or None

    def take(self, places: Places) -> Displays:
        """Return a column of some of the places."""
        taken = Displays()
        taken._texts = self._texts[places]
        return taken


Column = Values | Numbers | Displays
NUMBER = Field(name="", type="number")


class ChangedColumns:
    """The columns of all fields.

    Args:
        attributes: Of the generation.
    """

    def __init__(self, attributes: Attributes) -> None:
        """Begin without a place."""
        self.columns: dict[str, Column] = {field.name: _column(attributes, field) for field in attributes.schema.fields}

    def reserve(self, capacity: int) -> None:
        """Have room for so many places."""
        for column in self.columns.values():
            column.reserve(capacity)

    def set(self, place: int, attributes: Mapping[str, Any]) -> None:
        """Write the next place; what the generation has no field for is left out."""
        for name, column in self.columns.items():
            column.set(place, attributes.get(name))

    def values_of(self, name: str) -> Values:
        """Return a keyword, boolean or list."""
        column = self.columns[name]
        assert isinstance(column, Values)
        return column

    def numbers_of(self, name: str) -> Numbers:
        """Return a number."""
        column = self.columns[name]
        assert isinstance(column, Numbers)
        return column

    def take(self, places: Places) -> ChangedColumns:
        """Return the columns of some of the places."""
        taken = ChangedColumns.__new__(ChangedColumns)
        taken.columns = {name: column.take(places) for name, column in self.columns.items()}
        return taken


def _column(attributes: Attributes, field: Field) -> Column:
    match field.type:
        case "number":
            return Numbers()
        case "display":
            return Displays()
        case _:
            return Values(attributes.values_of(field.name), field)


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """Return an array of a size that begins with another; what a reader has of that stays as it is."""
    if size <= len(array):
        return array
    grown = np.zeros(size, dtype=array.dtype)
    grown[: len(array)] = array
    return grown

"""The attributes of a snapshot's products: those of the generation, and of what changed since.

A filter is asked of the generation's lists, whose rows that changed or are gone are left out, and of the places of what
changed one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, Rows, ValueCounts
from trident.attributes.columns import ChangedColumns, Numbers
from trident.attributes.evaluation import passing_rows, which_pass
from trident.attributes.filters import All, AnyNode, AnyOf, InRange, Missing, Node, Not
from trident.attributes.schema import Schema
from trident.live.snapshot import Snapshot


class SnapshotAttributes:
    """The attributes of a snapshot.

    Args:
        base: Of the generation.
        snapshot: Over it.
    """

    def __init__(self, base: Attributes, snapshot: Snapshot) -> None:
        """Keep both."""
        self._base, self._snapshot = base, snapshot

    @property
    def schema(self) -> Schema:
        """The fields, which are the generation's."""
        return self._base.schema

    def passing(self, node: Node) -> Rows:
        """Return the rows that pass a filter and hold a product, ascending."""
        snapshot = self._snapshot
        of_base = passing_rows(node, self._base)
        if snapshot.is_base:
            return of_base
        rows, places = snapshot.changed
        passing = rows[mask(node, snapshot.columns, places)]
        own = of_base[snapshot.has_own[of_base]]
        cut = int(np.searchsorted(passing, snapshot.base_count))
        if cut:
            own = np.sort(np.concatenate([own, passing[:cut]]), kind="stable")  # two runs in order
        return np.concatenate([own, passing[cut:]])

    def which_pass(self, node: Node, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of some rows, in any order, pass a filter."""
        places = self._snapshot.places_of(rows)
        if places is None:
            return which_pass(node, self._base, rows)
        is_changed = places >= 0
        passing = np.empty(len(rows), dtype=np.bool_)
        passing[is_changed] = mask(node, self._snapshot.columns, places[is_changed])
        passing[~is_changed] = which_pass(node, self._base, rows[~is_changed])
        return passing

    def keys(self, name: str, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers in whose order the values of rows stand, of a number itself; NaN: missing."""
        places = self._snapshot.places_of(rows)
        if places is None:
            return self._base.keys(name, rows)
        is_changed = places >= 0
        keys = np.empty(len(rows))
        keys[~is_changed] = self._base.keys(name, rows[~is_changed])
        columns = self._snapshot.columns
        is_number = self.schema.by_name[name].type == "number"
        column = columns.numbers_of(name) if is_number else columns.values_of(name)
        keys[is_changed] = column.keys(places[is_changed])
        return keys

    def counts(self, name: str, rows: NDArray[Any]) -> ValueCounts:
        """Return how many of some rows have each value of a keyword, boolean or list."""
        places = self._snapshot.places_of(rows)
        if places is None:
            return self._base.counts(name, rows)
        of_base = self._base.values_of(name).counts(rows[places < 0])
        return self._snapshot.columns.values_of(name).counts(of_base, places[places >= 0])

    def of_row(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """Return some attributes of a product by name; None: it has no such value."""
        places = self._snapshot.places_of(np.array([row]))
        if places is None or places[0] < 0:
            return self._base.of_row(row, names)
        return {name: self._snapshot.columns.columns[name].value(int(places[0])) for name in names}


def mask(node: Node, columns: ChangedColumns, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some places pass a filter."""
    match node:
        case All(nodes):
            kept = np.arange(len(places))
            for each in nodes:  # asked of those that passed so far
                kept = kept[mask(each, columns, places[kept])]
            found = np.zeros(len(places), dtype=bool)
            found[kept] = True
            return found
        case AnyNode(nodes):
            found = np.zeros(len(places), dtype=bool)
            for each in nodes:
                found |= mask(each, columns, places)
            return found
        case Not(inner):
            return ~mask(inner, columns, places)
        case AnyOf(field, values) if field.type == "number":
            return np.isin(columns.numbers_of(field.name).keys(places), values)
        case AnyOf(field, values):
            column = columns.values_of(field.name)
            codes = [column.code(value) for value in values]
            return column.has([code for code in codes if code is not None], places)
        case InRange(field):
            keys = columns.numbers_of(field.name).keys(places)
            above = keys >= node.low if node.low_included else keys > node.low
            below = keys <= node.high if node.high_included else keys < node.high
            return above & below
        case Missing(field):
            column_of = columns.columns[field.name]
            if isinstance(column_of, Numbers):
                return np.isnan(column_of.keys(places))
            return columns.values_of(field.name).is_missing(places)
    raise AssertionError(node)

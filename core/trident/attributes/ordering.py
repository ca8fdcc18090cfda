"""The order of products by attributes: ``sort`` and ``group``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import AttributeValues
from trident.attributes.schema import Field, Schema, shown
from trident.errors import DataError

SORT, GROUP = "sort", "group"
MOST = 3  # fields to sort by


@dataclass(frozen=True)
class SortKey:
    """A field, and whether its largest values come first; products without a value come last either way."""

    field: Field
    is_descending: bool = False


def parse_sort(value: Any, schema: Schema) -> tuple[SortKey, ...]:
    """Return what a query sorts by: ``"price"``, ``"-price"`` for the largest first, or a list of these.

    Raises:
        DataError: If it is none of these, or a field cannot be sorted by.
    """
    names = value if isinstance(value, list) else [value]
    if not 1 <= len(names) <= MOST or not all(isinstance(name, str) for name in names):
        raise DataError(f'{SORT} must be a field such as "price" or "-price", or 1 to {MOST}, got {shown(value)}')
    keys = []
    for name in names:
        is_descending = name.startswith("-") and name not in schema.by_name
        field = schema.field(name[1:] if is_descending else name, SORT)
        if field.type in ("list", "display"):
            raise DataError(f"{SORT} takes a keyword, number or boolean, got {field.name}, which is a {field.type}")
        keys.append(SortKey(field, is_descending))
    return tuple(keys)


def parse_group(value: Any, schema: Schema) -> Field:
    """Return the field of which each value gets one product.

    Raises:
        DataError: If there is no such field, or it has no one value for each product.
    """
    field = schema.field(value, GROUP)
    if field.type in ("list", "display"):
        raise DataError(f"{GROUP} takes a keyword, number or boolean, got {field.name}, which is a {field.type}")
    return field


def sorted_places(
    keys: tuple[SortKey, ...], attributes: AttributeValues, rows: NDArray[Any], wanted: int | None = None
) -> NDArray[np.intp]:
    """Return the places of rows in order; what ties keeps the order in which it stands.

    Args:
        keys: At least one.
        attributes: Of all products.
        rows: Some of them.
        wanted: How many of the first places are needed; None: all.
    """
    columns = [_keys(key, attributes, rows) for key in keys]
    places = np.arange(len(rows))
    if wanted is not None and 0 < wanted < len(rows):
        last = np.partition(columns[0], wanted - 1)[wanted - 1]
        places = np.flatnonzero(columns[0] <= last)
    order = np.lexsort([column[places] for column in reversed(columns)])  # stable
    found: NDArray[np.intp] = places[order]
    return found


def _keys(key: SortKey, attributes: AttributeValues, rows: NDArray[Any]) -> NDArray[np.float64]:
    numbers = attributes.keys(key.field.name, rows)
    return np.where(np.isnan(numbers), np.inf, -numbers if key.is_descending else numbers)


def first_of_each(field: Field, attributes: AttributeValues, rows: NDArray[Any]) -> NDArray[np.intp]:
    """Return the places, ascending, of the first row of each value; of what has no value, each is one by itself."""
    keys = attributes.keys(field.name, rows)
    is_missing = np.isnan(keys)
    _, first = np.unique(keys[~is_missing], return_index=True)
    return np.sort(np.concatenate([np.flatnonzero(~is_missing)[first], np.flatnonzero(is_missing)]))

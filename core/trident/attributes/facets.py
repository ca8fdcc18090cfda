"""Counts of a field's values among some products, as a page shows them beside its hits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import AttributeValues, ValueCounts, plain_number
from trident.attributes.schema import Field, Schema, fits, shown
from trident.errors import DataError

FACETS = "facets"
VALUES = 10  # of a facet, the most frequent, unless a query says so
MOST_VALUES = 1000
MOST_BORDERS = 100


@dataclass(frozen=True)
class Facet:
    """A field whose values are counted; ``size`` values at most, or ranges between ``borders``."""

    field: Field
    size: int = VALUES
    borders: tuple[float, ...] = ()


def parse_facets(value: Any, schema: Schema) -> tuple[Facet, ...]:
    """Return the facets that a query asks for.

    Args:
        value: A list of fields; or an object of fields and, for each, how many values, or the borders of its ranges.
        schema: Of the products.

    Raises:
        DataError: If it is neither; or names field and value.
    """
    if isinstance(value, list):
        value = {name if isinstance(name, str) else shown(name): None for name in value}
    if not isinstance(value, Mapping):
        raise DataError(f"{FACETS} must be a list of fields, or an object of fields and sizes, got {shown(value)}")
    return tuple(_facet(schema.field(name, FACETS), wish) for name, wish in value.items())


def _facet(field: Field, wish: Any) -> Facet:
    name = f"{FACETS}.{field.name}"
    if field.type == "display":
        raise DataError(f"{name} is for display only: export with --attribute {field.name}=keyword to count it")
    if wish is None:
        return Facet(field, borders=field.borders)
    if field.type == "number":
        ascending = isinstance(wish, list) and all(fits(field, each) for each in wish) and wish == sorted(set(wish))
        if not ascending or not 1 <= len(wish) <= MOST_BORDERS:
            raise DataError(
                f"{name} is a number and takes 1 to {MOST_BORDERS} ascending borders of ranges, got {shown(wish)}"
            )
        return Facet(field, borders=tuple(map(float, wish)))
    if not isinstance(wish, int) or isinstance(wish, bool) or not 1 <= wish <= MOST_VALUES:
        raise DataError(f"{name} takes a number of values, 1 to {MOST_VALUES}, got {shown(wish)}")
    return Facet(field, size=wish)


def count_facet(facet: Facet, attributes: AttributeValues, rows: NDArray[Any]) -> dict[str, Any]:
    """Return the counts of a facet among products: values or ranges, and how many products have no value.

    Args:
        facet: What is counted.
        attributes: Of all products.
        rows: The products, in any order.
    """
    name = facet.field.name
    if facet.field.type == "number":
        return _ranges(facet, attributes.keys(name, rows))
    return shown_values(facet, attributes.counts(name, rows))


def shown_values(facet: Facet, found: ValueCounts) -> dict[str, Any]:
    """Return the most frequent values of a facet, how many different ones there are, and how many have none."""
    best = np.argsort(-found.counts, kind="stable")[: facet.size]
    return {
        "values": [
            {"value": found.shown(int(found.codes[place])), "count": int(found.counts[place])} for place in best
        ],
        "different": len(found.codes),
        "missing": found.missing,
    }


def _ranges(facet: Facet, keys: NDArray[np.float64]) -> dict[str, Any]:
    numbers = keys[~np.isnan(keys)]
    counts = np.bincount(np.searchsorted(facet.borders, numbers, side="right"), minlength=len(facet.borders) + 1)
    ends = (-math.inf, *facet.borders, math.inf)
    ranges: list[dict[str, Any]] = []
    for low, high, count in zip(ends[:-1], ends[1:], counts.tolist(), strict=True):
        bounds = {"gte": _plain(low), "lt": _plain(high)}
        ranges.append({**{name: bound for name, bound in bounds.items() if bound is not None}, "count": count})
    found: dict[str, Any] = {"ranges": ranges, "missing": len(keys) - len(numbers)}
    return found | ({"min": _plain(numbers.min()), "max": _plain(numbers.max())} if len(numbers) else {})


def _plain(number: float) -> float | int | None:
    return plain_number(float(number)) if math.isfinite(number) else None

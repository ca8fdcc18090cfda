"""The attributes of products that came from the engine, numbered in the order in which they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import ValueCounts, plain_number
from trident.attributes.schema import Schema


class PoolAttributes:
    """The attributes of N products; see ``trident.attributes.attributes.AttributeValues``.

    Args:
        schema: Of the fields.
        keys: Where a payload has each.
        payloads: Of the products.
    """

    def __init__(self, schema: Schema, keys: Mapping[str, str], payloads: Sequence[Mapping[str, Any]]) -> None:
        """Keep them."""
        self.schema, self._keys, self._payloads = schema, keys, payloads

    def keys(self, name: str, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers in whose order the values of rows stand, of a number itself; NaN: missing. Not of lists."""
        values = self._values(name, rows)
        if self.schema.by_name[name].type in ("number", "boolean"):
            return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
        order = {text: place for place, text in enumerate(sorted(set(values) - {None}, key=_bytes))}
        return np.array([np.nan if value is None else order[value] for value in values], dtype=np.float64)

    def counts(self, name: str, rows: NDArray[Any]) -> ValueCounts:
        """Return how many of some rows have each value of a keyword, boolean or list."""
        values = self._values(name, rows)
        listed = [value if isinstance(value, list) else [value] for value in values if value is not None]
        return value_counts(Counter(each for own in listed for each in set(own)), values.count(None))

    def of_row(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """Return some attributes of a product by name; None: it has no such value."""
        return {name: self._shown(name, self._payloads[row].get(self._keys[name])) for name in names}

    def _values(self, name: str, rows: NDArray[Any]) -> list[Any]:
        key = self._keys[name]
        return [self._payloads[row].get(key) for row in np.asarray(rows).tolist()]

    def _shown(self, name: str, value: Any) -> Any:
        is_number = value is not None and self.schema.by_name[name].type == "number"
        return plain_number(float(value)) if is_number else value


def value_counts(counts: Mapping[Any, int], missing: int) -> ValueCounts:
    """Return counts of values in the order of these: of texts by their bytes, of booleans false first."""
    values = sorted(counts, key=lambda value: value if isinstance(value, bool) else _bytes(value))
    numbers = np.array([counts[value] for value in values], dtype=np.int64)
    return ValueCounts(np.arange(len(values)), numbers, missing, lambda code: values[code])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")

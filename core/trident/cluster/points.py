"""A product as the engine keeps it, a point: its id, its vector, and what is known of it.

Fields are kept by their place in the schema, ``a0``, ``a1``: the engine reads a name with a dot as a path. What is
missing is left out. A product that was deleted stays as a point without a product, so that an older record that comes
late does not bring it back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from trident.attributes.schema import Schema

PRODUCT, TITLE, ROW, NUMBER, GONE, STATE = "id", "title", "row", "number", "gone", "state"
NAMESPACE = uuid.UUID("7c0b4b61-6f0e-5e0e-9d0c-3a1f6a2b9f35")  # of products
STATE_ID = "00000000-0000-0000-0000-000000000001"  # of the point that says how far a collection is
NEW_ROWS = 2**40  # products that no generation had stand behind all others, in the order of their numbers


@dataclass(frozen=True, kw_only=True)
class StoredProduct:
    """A product to be kept.

    Attributes:
        id: Of the product.
        title: Of the product.
        attributes: By name; what is missing may be left out.
        row: Its place in the catalogue, the order of equal scores and of browsing.
        number: Of the last operation on it; of a generation's product how far that goes.
    """

    id: str
    title: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    row: int
    number: int


def keys_of(schema: Schema) -> dict[str, str]:
    """Return where each field is kept, by name."""
    return {each.name: f"a{place}" for place, each in enumerate(schema.fields)}


def point_id(product: str) -> str:
    """Return the id of a product's point."""
    return str(uuid.uuid5(NAMESPACE, product))


def point_of(product: StoredProduct, vector: NDArray[np.float32], keys: Mapping[str, str]) -> models.PointStruct:
    """Return a product with its vector (D,) as the engine takes it."""
    payload: dict[str, Any] = {
        PRODUCT: product.id,
        TITLE: product.title,
        ROW: product.row,
        NUMBER: product.number,
        GONE: False,
    }
    for name, value in product.attributes.items():
        if name in keys and value is not None and value != "" and value != []:
            payload[keys[name]] = value
    return models.PointStruct(id=point_id(product.id), vector=vector.tolist(), payload=payload)


def gone_point(product: str, number: int, dimension: int) -> models.PointStruct:
    """Return what is kept of a product that an operation deleted."""
    payload = {PRODUCT: product, NUMBER: number, GONE: True}
    return models.PointStruct(id=point_id(product), vector=_no_vector(dimension), payload=payload)


def state_point(state: Mapping[str, Any], number: int, dimension: int) -> models.PointStruct:
    """Return the point that says how far a collection is."""
    payload = {STATE: dict(state), NUMBER: number, GONE: True}
    return models.PointStruct(id=STATE_ID, vector=_no_vector(dimension), payload=payload)


def there() -> models.Filter:
    """Return the filter of points that are products."""
    return models.Filter(must=[models.FieldCondition(key=GONE, match=models.MatchValue(value=False))])


def up_to(number: int) -> models.Filter:
    """Return the filter of points that no later operation touched: what an older one may write over."""
    return models.Filter(must=[models.FieldCondition(key=NUMBER, range=models.Range(lte=number))])


def _no_vector(dimension: int) -> list[float]:
    return [1.0] + [0.0] * (dimension - 1)

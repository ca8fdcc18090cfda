"""A made catalogue of each type, in memory and as an export leaves it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.attributes.schema import Field, Schema

Product = dict[str, Any]
BRANDS = ("HP", "Dell", "Größe", "茶", "Zeiss", "")
TAGS = ("new", "sale", "b2b", "old")
COUNT = 400
TYPES = {
    "brand": pa.string(),
    "price": pa.float64(),
    "in_stock": pa.bool_(),
    "tags": pa.list_(pa.string()),
    "image": pa.string(),
}


def made_products(count: int = COUNT, seed: int = 0) -> list[Product]:
    """Return products some of whose values are missing; prices repeat."""
    draw = random.Random(seed)

    def product(number: int) -> Product:
        brand = draw.choice(BRANDS)
        return {
            "brand": brand or None,
            "price": None if draw.random() < 0.1 else draw.choice((1.5, 2, 39.9, 100, -3, draw.randint(0, 500))),
            "in_stock": draw.choice((True, False, None)),
            "tags": sorted(draw.sample(TAGS, draw.randint(0, 3))) or None,
            "image": f"https://example.org/{number}.jpg",
        }

    return [product(number) for number in range(count)]


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Return a field of each type."""
    types = ("keyword", "number", "boolean", "list", "display")
    return Schema(fields=tuple(Field(name=name, type=kind) for name, kind in zip(TYPES, types, strict=True)))


@pytest.fixture(scope="session")
def products() -> list[Product]:
    return made_products()


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Attributes]:
    """Return what writes products as an export does and maps them."""

    def write(rows: list[Product], **asked: str) -> Attributes:
        names = list(rows[0])
        columns = {name: pa.array([row[name] for row in rows], TYPES.get(name)) for name in names}
        inferred = infer(pa.table(columns), asked, "products.csv")
        assert not inferred.left_out
        write_attributes(tmp_path, inferred, len(rows))
        return Attributes.load(tmp_path)

    return write


@pytest.fixture
def attributes(products: list[Product], written: Callable[..., Attributes]) -> Attributes:
    return written(products)

"""Made products in files, and collections of the engine's stand-in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import columns_of
from trident.attributes.schema import Field, Schema
from trident.cluster.collection import Collection
from trident.cluster.connection import Connection
from trident.cluster.loading import ProductFiles
from trident.cluster.store import Store
from trident.data.texts import Texts
from trident.index.index import IndexConfig, VectorIndex

COUNT, DIMENSION = 90, 8
SCHEMA = Schema(
    fields=(
        Field(name="brand", type="keyword"),
        Field(name="price.usd", type="number"),  # a dot is a path to the engine
        Field(name="größe (cm)", type="number"),
        Field(name="in_stock", type="boolean"),
        Field(name="colours", type="list"),
        Field(name="picture", type="display"),
    )
)
BRANDS = ("HP", "it's", 'a"b', "é", "a.b", "", None)
COLOURS = ("red", "blue", "-1", "true")


def made_rows(seed: int = 3) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {
            "brand": draw.choice(BRANDS) or None,
            "price.usd": draw.choice((None, 39.9, draw.randint(0, 9), draw.uniform(-5, 5))),
            "größe (cm)": draw.choice((None, 1e15, 0.1 + 0.2, draw.randint(0, 3))),
            "in_stock": draw.choice((None, True, False)),
            "colours": draw.sample(COLOURS, draw.randint(0, 3)) or None,
            "picture": f"https://x/{row}.jpg",
        }
        for row in range(COUNT)
    ]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> ProductFiles:
    """Return 90 products with attributes of every type."""
    folder = tmp_path_factory.mktemp("files")
    write_attributes(folder, columns_of(SCHEMA, made_rows()), COUNT)
    vectors = np.random.default_rng(0).standard_normal((COUNT, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = VectorIndex.build(vectors, config=IndexConfig(), encoder_fingerprint="a" * 64, links=False)
    ids, titles = Texts.of(f"p{row}" for row in range(COUNT)), Texts.of(f"Title {row} 日本" for row in range(COUNT))
    return ProductFiles(ids, titles, Attributes.load(folder), index)


@pytest.fixture(scope="package")
def stand_in(empty_stand_in: Any) -> Any:
    """Return one of our own: what is in it is counted."""
    return empty_stand_in


@pytest.fixture
def connection(stand_in: Any) -> Iterator[Connection]:
    """Return a connection to the stand-in, whose collections are removed at the end."""
    made = Connection(Store(address=stand_in.address, timeout_s=30.0))
    yield made
    for name in made.collections():
        made.drop(name)
    made.close()


@pytest.fixture
def collection(connection: Connection) -> Collection:
    """Return the collection of a generation that nobody has loaded."""
    return Collection(connection, "trident-0123456789abcdef", SCHEMA, DIMENSION)

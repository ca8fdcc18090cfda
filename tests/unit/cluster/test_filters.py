"""Our filters in the engine's words pass what they pass here, products without the value among it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from trident.attributes.evaluation import passing_rows
from trident.attributes.filters import All, AnyNode, AnyOf, InRange, Missing, Not, parse_filter
from trident.attributes.schema import Field
from trident.cluster.asking import Wanted, in_order
from trident.cluster.collection import Collection
from trident.cluster.filters import translate
from trident.cluster.loading import ProductFiles, write_rows
from trident.cluster.points import keys_of

BRANDS = ("HP", "it's", 'a"b', "é", "a.b", "none")
COLOURS = ("red", "blue", "-1", "true")


def passing(collection: Collection, files: ProductFiles, value: Any) -> tuple[list[int], list[int]]:
    node = parse_filter(value, collection.schema)
    found = in_order(collection, Wanted(limit=len(files), which=translate(node, collection.keys)))
    return [hit.row for hit in found], passing_rows(node, files.attributes).tolist()


def drawn(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    numbers = (39.9, 0, 3, -1.5, 1e15, 0.1 + 0.2, 100)
    made: dict[str, Any] = {}
    for _ in range(draw.randint(1, 3)):
        match draw.randint(0, 8 if depth < 2 else 5):
            case 0:
                made["brand"] = draw.sample(BRANDS, 2)
            case 1:
                low, high = sorted(draw.sample(numbers, 2))
                made["price.usd"] = draw.choice(({"gte": low, "lt": high}, {"gt": low}, {"lte": high}, {"not": low}))
            case 2:
                made["größe (cm)"] = draw.choice((draw.choice(numbers), {"missing": draw.random() < 0.5}))
            case 3:
                made["in_stock"] = draw.choice((True, False, {"exists": True}, {"missing": True}, [True, False]))
            case 4:
                made["colours"] = draw.choice((draw.choice(COLOURS), {"all": list(draw.sample(COLOURS, 2))}))
            case 5:
                made["colours"] = draw.choice(({"not": [draw.choice(COLOURS)]}, {"missing": True}))
            case 6:
                made["not"] = drawn(draw, depth + 1)
            case 7:
                made["any"] = [drawn(draw, depth + 1) for _ in range(draw.randint(1, 3))]
            case _:
                made["all"] = [drawn(draw, depth + 1) for _ in range(draw.randint(1, 2))]
    return made


def test_drawn_filters_pass_the_same_products(collection: Collection, files: ProductFiles) -> None:
    count = len(files)
    collection.create()
    write_rows(collection, files, np.arange(count), 0)
    draw, sizes = random.Random(8), set()
    for _ in range(150):
        value = drawn(draw)
        found, expected = passing(collection, files, value)
        assert found == expected, value
        assert collection.count(translate(parse_filter(value, collection.schema), collection.keys)) == len(expected), (
            value
        )
        sizes.add(len(expected))
    assert {0, count} <= sizes
    assert len(sizes) > 30


@pytest.fixture
def fields(files: ProductFiles) -> Mapping[str, Field]:
    return files.attributes.schema.by_name


def test_what_is_always_or_never_true_is_no_condition(files: ProductFiles, fields: Mapping[str, Field]) -> None:
    keys, brand = keys_of(files.attributes.schema), AnyOf(fields["brand"], ("HP",))
    assert translate(All(()), keys) is True
    assert translate(Not(All(())), keys) is False
    assert translate(AnyNode(()), keys) is False
    assert translate(All((brand, Not(All(())))), keys) is False
    assert translate(AnyNode((brand, All(()))), keys) is True
    assert translate(All((brand, All(()))), keys) == translate(brand, keys)


def test_a_range_without_ends_is_any_number(files: ProductFiles, fields: Mapping[str, Field]) -> None:
    price, keys = fields["price.usd"], keys_of(files.attributes.schema)
    assert translate(InRange(price), keys) == translate(Not(Missing(price)), keys)


def test_what_is_no_filter_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError):
        translate("brand", {})  # type: ignore[arg-type]

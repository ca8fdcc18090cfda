"""Counts, order and groups are those of plain Python; each fault is one clear line."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.facets import count_facet, parse_facets
from trident.attributes.ordering import first_of_each, parse_group, parse_sort, sorted_places
from trident.attributes.schema import Schema
from trident.errors import DataError

ROWS = np.random.default_rng(5).permutation(400)[:250].astype(np.uint32)

Product = dict[str, Any]


def test_counts_of_values(products: list[Product], attributes: Attributes) -> None:
    some = [products[row] for row in ROWS.tolist()]
    facets = parse_facets({"brand": 3, "tags": None, "in_stock": None}, attributes.schema)
    brand, tags, stock = (count_facet(facet, attributes, ROWS) for facet in facets)
    brands = Counter(each["brand"] for each in some)
    assert brand["missing"] == brands.pop(None)
    assert brand["different"] == len(brands)
    expected = sorted(brands.items(), key=lambda item: (-item[1], item[0]))[:3]
    assert [(each["value"], each["count"]) for each in brand["values"]] == expected
    assert {each["value"]: each["count"] for each in tags["values"]} == Counter(
        tag for each in some for tag in each["tags"] or ()
    )
    assert tags["missing"] == sum(each["tags"] is None for each in some)
    assert {each["value"]: each["count"] for each in stock["values"]} == {
        value: sum(each["in_stock"] is value for each in some) for value in (True, False)
    }


@pytest.mark.parametrize("wish", [None, [0, 39.9, 100]])
def test_counts_of_ranges(wish: list[float] | None, products: list[Product], attributes: Attributes) -> None:
    (facet,) = parse_facets({"price": wish}, attributes.schema)
    found = count_facet(facet, attributes, ROWS)
    prices = [products[row]["price"] for row in ROWS.tolist()]
    there = [price for price in prices if price is not None]
    for each in found["ranges"]:
        low, high = each.get("gte", -np.inf), each.get("lt", np.inf)
        assert each["count"] == sum(low <= price < high for price in there)
    assert sum(each["count"] for each in found["ranges"]) + found["missing"] == len(ROWS)
    assert (found["min"], found["max"]) == (min(there), max(there))
    assert len(found["ranges"]) >= 4
    nothing = count_facet(facet, attributes, ROWS[:0])
    assert nothing["missing"] == 0
    assert "min" not in nothing


@pytest.mark.parametrize("sort", ["price", "-price", "brand", "-brand", ["in_stock", "-price"], ["-brand", "price"]])
@pytest.mark.parametrize("wanted", [None, 1, 40, 9999])
def test_order_is_stable_and_missing_comes_last(
    sort: Any, wanted: int | None, products: list[Product], attributes: Attributes
) -> None:
    keys = parse_sort(sort, attributes.schema)
    found = sorted_places(keys, attributes, ROWS, wanted)
    expected = list(range(len(ROWS)))
    for name in reversed([sort] if isinstance(sort, str) else sort):
        field = name.removeprefix("-")
        values = {place: products[ROWS[place]][field] for place in expected}
        there = [place for place in expected if values[place] is not None]
        there.sort(key=lambda place: _bytes(values[place]), reverse=name.startswith("-"))
        if name.startswith("-"):  # reversed order of ties is no stable one
            there = _stable(there, values, expected)
        expected = there + [place for place in expected if values[place] is None]
    assert found[:wanted].tolist() == expected[:wanted]


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _stable(places: list[int], values: dict[int, Any], order: list[int]) -> list[int]:
    ranks = {place: rank for rank, place in enumerate(order)}
    distinct = list(dict.fromkeys(values[place] for place in places))
    return sorted(places, key=lambda place: (distinct.index(values[place]), ranks[place]))


@pytest.mark.parametrize("group", ["brand", "price", "in_stock"])
def test_one_of_each_value(group: str, products: list[Product], attributes: Attributes) -> None:
    found = first_of_each(parse_group(group, attributes.schema), attributes, ROWS)
    seen: set[Any] = set()
    expected = []
    for place, row in enumerate(ROWS.tolist()):
        value = products[row][group]
        if value is None or value not in seen:
            expected.append(place)
        seen.add(value)
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("read", "value", "line"),
    [
        (parse_facets, "brand", '^facets must be a list of fields, or an object of fields and sizes, got "brand"$'),
        (parse_facets, ["brnad"], "^facets has no field 'brnad' .did you mean 'brand'"),
        (parse_facets, [7], "^facets has no field '7'"),
        (parse_facets, {"brand": 0}, "^facets.brand takes a number of values, 1 to 1000, got 0$"),
        (parse_facets, {"brand": True}, "^facets.brand takes a number of values, 1 to 1000, got true$"),
        (
            parse_facets,
            {"price": 5},
            "^facets.price is a number and takes 1 to 100 ascending borders of ranges, got 5$",
        ),
        (parse_facets, {"price": [2, 1]}, r"^facets.price is a number and takes .*, got \[2, 1\]$"),
        (parse_facets, {"price": [1, 1]}, r"^facets.price is a number and takes .*, got \[1, 1\]$"),
        (parse_facets, ["image"], "^facets.image is for display only: export with --attribute image=keyword"),
        (parse_sort, 7, '^sort must be a field such as "price" or "-price", or 1 to 3, got 7$'),
        (parse_sort, [], "^sort must be a field"),
        (parse_sort, ["price"] * 4, "^sort must be a field"),
        (parse_sort, "-prise", "^sort has no field 'prise' .did you mean 'price'"),
        (parse_sort, "tags", "^sort takes a keyword, number or boolean, got tags, which is a list$"),
        (parse_group, "image", "^group takes a keyword, number or boolean, got image, which is a display$"),
        (parse_group, ["brand"], r'^group must name a field, got \["brand"\]$'),
    ],
)
def test_a_bad_wish_is_refused(read: Any, value: Any, line: str, schema: Schema) -> None:
    with pytest.raises(DataError, match=line):
        read(value, schema)

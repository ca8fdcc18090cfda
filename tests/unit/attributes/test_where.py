"""The short form of a filter."""

from __future__ import annotations

from typing import Any

import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.evaluation import passing_rows
from trident.attributes.filters import parse_filter
from trident.attributes.schema import Schema
from trident.attributes.where import filter_of
from trident.errors import ConfigError

Product = dict[str, Any]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["brand=HP"], {"brand": {"is": ["HP"]}}),
        (["brand = HP", "brand=Dell & Co = x"], {"brand": {"is": ["HP", "Dell & Co = x"]}}),
        (["price<500", "price >= 10"], {"price": {"lt": 500.0, "gte": 10.0}}),
        (["brand!=HP", "price>1"], {"price": {"gt": 1.0}, "not": {"brand": {"is": ["HP"]}}}),
        (["brand!=HP", "tags!=new"], {"not": {"any": [{"brand": {"is": ["HP"]}}, {"tags": {"is": ["new"]}}]}}),
        (["brand=", "tags!="], {"brand": {"missing": True}, "tags": {"missing": False}}),
    ],
)
def test_conditions_are_a_filter(conditions: list[str], expected: dict[str, Any], schema: Schema) -> None:
    assert filter_of(conditions) == expected
    parse_filter(expected, schema)


def test_a_value_is_read_by_the_type_of_its_field(products: list[Product], attributes: Attributes) -> None:
    found = passing_rows(parse_filter(filter_of(["price=39.9", "in_stock=TRUE"]), attributes.schema), attributes)
    wanted = [row for row, each in enumerate(products) if each["price"] == 39.9 and each["in_stock"] is True]
    assert found.tolist() == wanted != []


@pytest.mark.parametrize(
    ("conditions", "line"),
    [
        (["brand"], "^--where takes FIELD=VALUE, !=, .*, got 'brand'$"),
        (["=HP"], "^--where takes FIELD=VALUE"),
        (["price<cheap"], "^--where: a number is needed to compare with, got 'cheap' in 'price<cheap'$"),
        (["price<5", "price<7"], "^--where takes price< once, got 'price<7' after another$"),
    ],
)
def test_a_condition_that_is_none_is_refused(conditions: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        filter_of(conditions)

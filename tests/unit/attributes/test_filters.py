"""The filter language: rows are those of a plain reference in Python; each fault is one clear line."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from trident.attributes import evaluation
from trident.attributes.attributes import Attributes
from trident.attributes.evaluation import largest, passing_rows
from trident.attributes.filters import DEEPEST, MOST, parse_filter
from trident.attributes.schema import Schema
from trident.errors import DataError

Product = dict[str, Any]

BRANDS = ("HP", "Dell", "Größe", "茶", "Zeiss")
TAGS = ("new", "sale", "b2b", "old")


def passes(product: Product, wanted: dict[str, Any]) -> bool:
    """Say of one product what the language says, without any of its code."""
    return all(_one(product, key, value) for key, value in wanted.items())


def _one(product: Product, key: str, value: Any) -> bool:
    if key == "not":
        return not passes(product, value)
    if key == "any":
        return any(passes(product, each) for each in value)
    if key == "all":
        return all(passes(product, each) for each in value)
    found = product[key]
    own = found if isinstance(found, list) else [] if found is None else [found]
    if not isinstance(value, dict):
        return bool(set(own) & set(value if isinstance(value, list) else [value]))
    tests = {
        "gte": lambda bound: bool(own) and own[0] >= bound,
        "gt": lambda bound: bool(own) and own[0] > bound,
        "lte": lambda bound: bool(own) and own[0] <= bound,
        "lt": lambda bound: bool(own) and own[0] < bound,
        "not": lambda values: not set(own) & set(values if isinstance(values, list) else [values]),
        "all": lambda values: set(values) <= set(own),
        "missing": lambda wish: (not own) == wish,
        "exists": lambda wish: bool(own) == wish,
        "is": lambda text: text in own,
    }
    return all(tests[operator](argument) for operator, argument in value.items())


def made_filter(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return a filter that holds every kind of condition now and then."""
    made: dict[str, Any] = {}
    for _ in range(draw.randint(0 if depth else 1, 3)):
        kind = draw.choice(("brand", "price", "in_stock", "tags", "not", "any", "all"))
        if kind in ("not", "any", "all") and depth < 3:
            inner = [made_filter(draw, depth + 1) for _ in range(draw.randint(1, 3))]
            made[kind] = inner[0] if kind == "not" else inner
        elif kind == "price":
            low, high = sorted(draw.sample((-10, -3, 0, 1.5, 2, 39.9, 99, 100, 250, 501), 2))
            made[kind] = draw.choice(
                (
                    {draw.choice(("gte", "gt")): low, draw.choice(("lte", "lt")): high},
                    {draw.choice(("gte", "gt", "lte", "lt")): low},
                    draw.choice((1.5, 2, 100, 7777)),
                    [1.5, 39.9, 2],
                    {"not": [2, 100]},
                    {"missing": draw.random() < 0.5},
                )
            )
        elif kind == "in_stock":
            made[kind] = draw.choice((True, False, [True, False], {"missing": True}, {"not": True}))
        elif kind in ("brand", "tags"):
            values = [*(BRANDS if kind == "brand" else TAGS), "nobody"]
            several = draw.sample(values, draw.randint(1, 4))
            choices: list[Any] = [
                draw.choice(values),
                several,
                {"not": several},
                {"exists": True},
                {"missing": True},
                {"is": several[0]},
            ]
            made[kind] = draw.choice([*choices, {"all": several[:2]}] if kind == "tags" else choices)
    return made


@pytest.mark.parametrize("narrow", [evaluation.NARROW, 0.0, 2.0])
def test_hundreds_of_filters_find_what_plain_python_finds(
    narrow: float, products: list[Product], attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rows of values, by masks, and by whichever is chosen."""
    monkeypatch.setattr(evaluation, "NARROW", narrow)
    monkeypatch.setattr(evaluation, "FEW", narrow)
    draw = random.Random(31)
    sizes = set()
    for number in range(300):
        wanted = json.loads(json.dumps(made_filter(draw)))
        expected = [row for row, product in enumerate(products) if passes(product, wanted)]
        node = parse_filter(wanted, attributes.schema)
        found = passing_rows(node, attributes)
        assert found.tolist() == expected, (number, wanted)
        assert found.dtype == np.uint32
        assert largest(node, attributes) >= len(expected), (number, wanted)
        sizes.add(len(expected))
    assert len(sizes) > 60


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ([], r'^filter must be one JSON object such as \{"brand": .*\}, got \[\]$'),
        ("brand=HP", '^filter must be one JSON object .*, got "brand=HP"$'),
        (
            {"brnad": "HP"},
            "^filter has no field 'brnad' .did you mean 'brand'.*: it has brand, price, in_stock, tags, image",
        ),
        ({"brand": 7}, "^filter: brand is a keyword and takes a text, got 7$"),
        ({"brand": True}, "^filter: brand is a keyword and takes a text, got true$"),
        ({"brand": ["HP", None]}, 'got null; {"brand": {"missing": true}} finds what has none$'),
        ({"brand": []}, r"^filter.brand must name at least one value, got \[\]: leave the field out$"),
        ({"brand": {}}, "^filter.brand must hold a condition such as gte, .*, got {}$"),
        ({"brand": {"gte": "A"}}, '^filter.brand is a keyword, and gte is for numbers, got "A"$'),
        ({"brand": {"al": ["A"]}}, "^filter.brand has no 'al' .did you mean 'all'.*: it knows gte, gt"),
        ({"brand": {"all": ["A"]}}, r'^filter.brand.all takes a list of values of a list, got \["A"\]$'),
        ({"brand": {"missing": 1}}, "^filter.brand.missing takes true or false, got 1$"),
        ({"price": "7"}, '^filter: price is a number and takes a number, got "7"$'),
        ({"price": True}, "^filter: price is a number and takes a number, got true$"),
        ({"price": {"lt": "7"}}, '^filter.price is a number and lt takes a number, got "7"$'),
        ({"price": {"lt": math.inf}}, "^filter.price is a number and lt takes a number, got Infinity$"),
        ({"price": math.nan}, "^filter: price is a number and takes a number, got NaN$"),
        ({"price": 10**400}, r"^filter: price is a number and takes a number, got 1000.*\.\.\.$"),
        (
            {"price": {"gte": 10, "lt": 5}},
            '^filter.price must be a range that holds a number, got {"gte": 10, "lt": 5}$',
        ),
        ({"price": {"gte": 10, "lt": 10}}, "^filter.price must be a range that holds a number"),
        ({"price": {"gte": 1, "gt": 1}}, "^filter.price must have one of gte and gt, got both$"),
        ({"price": {"is": "cheap"}}, '^filter: price is a number and takes a number, got "cheap"$'),
        ({"price": {"is": 7}}, "^filter.price.is takes text, got 7$"),
        ({"in_stock": "true"}, '^filter: in_stock is a boolean and takes true or false, got "true"$'),
        ({"in_stock": 1}, "^filter: in_stock is a boolean and takes true or false, got 1$"),
        ({"tags": [["new"]]}, r'^filter: tags is a list and takes a text, got \["new"\]$'),
        ({"image": "x"}, "^filter: image is for display only .* export with --attribute image=keyword$"),
        ({"any": []}, r"^filter.any must be a list of at least one filter, got \[\]$"),
        ({"any": {"brand": "HP"}}, "^filter.any must be a list of at least one filter, got {"),
        ({"not": "HP"}, "^filter.not must be one JSON object"),
        ({"not": {"any": [{"brnad": "HP"}]}}, "^filter.not.any has no field 'brnad'"),
    ],
)
def test_a_bad_filter_is_refused_in_one_line(wanted: Any, line: str, schema: Schema) -> None:
    with pytest.raises(DataError, match=line) as caught:
        parse_filter(wanted, schema)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_deep_or_endless_filter_is_refused(schema: Schema) -> None:
    deep: dict[str, Any] = {"brand": "HP"}
    for _ in range(DEEPEST - 1):
        deep = {"not": deep}
    parse_filter(deep, schema)
    for _ in range(200):
        deep = {"not": deep}
    with pytest.raises(DataError, match=f"^filter must not be nested more than {DEEPEST} deep"):
        parse_filter(deep, schema)
    with pytest.raises(DataError, match=r"^filter must have at most 2,000 conditions, got more"):
        parse_filter({"brand": ["HP"] * (MOST + 1)}, schema)


def test_a_condition_says_which_field_it_speaks_of(schema: Schema) -> None:
    wanted = {"brand": "HP", "price": {"gte": 1, "not": 3}, "any": [{"brand": "HP"}], "not": {"brand": "HP"}}
    node = parse_filter(wanted, schema)
    assert len(node.without("brand").nodes) == 2
    assert len(node.without("price").nodes) == 3
    assert node.without("tags") == node

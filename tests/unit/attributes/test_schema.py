"""The schema: types of values that somebody gives, and its file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trident.attributes.schema import Schema
from trident.errors import DataError, GenerationError


def test_values_are_typed_and_missing_ones_stay(schema: Schema) -> None:
    given = {"brand": "HP", "price": 7, "in_stock": False, "tags": ["a", "b", "a"], "image": "x"}
    found = schema.check(given, "upsert of 'B01'")
    assert found == {**given, "price": 7.0, "tags": ["a", "b"]}
    assert type(found["price"]) is float
    assert schema.check({"brand": None}, "here") == {"brand": None}
    assert schema.check({}, "here") == {}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], r"^here: attributes must be one object, got \[\]$"),
        ({"prise": 1}, "^here: the catalogue has no field 'prise' .did you mean 'price'"),
        ({"price": "7"}, '^here: price is a number and takes a number, got "7"$'),
        ({"price": float("nan")}, "^here: price is a number and takes a number, got NaN$"),
        ({"price": True}, "^here: price is a number and takes a number, got true$"),
        ({"brand": 7}, "^here: brand is a keyword and takes a text, got 7$"),
        ({"brand": "x" * 999, "tags": "new"}, '^here: tags is a list and takes a list of texts, got "new"$'),
        ({"tags": ["new", 1]}, r'^here: tags is a list and takes a list of texts, got \["new", 1\]$'),
        ({"in_stock": 0}, "^here: in_stock is a boolean and takes true or false, got 0$"),
        ({"image": 1}, "^here: image is a display and takes a text, got 1$"),
    ],
)
def test_a_value_of_another_type_is_refused(given: Any, line: str, schema: Schema) -> None:
    with pytest.raises(DataError, match=line):
        schema.check(given, "here")


def test_the_file_gives_back_what_was_saved(tmp_path: Path, schema: Schema) -> None:
    schema.save(tmp_path / "s.json")
    assert Schema.load(tmp_path / "s.json") == schema
    (tmp_path / "s.json").write_text('{"fields": [{"name": "brand", "type": "word"}]}')
    with pytest.raises(GenerationError, match=r"^schema .* is missing or damaged: 'fields.* export again$"):
        Schema.load(tmp_path / "s.json")
    with pytest.raises(GenerationError, match=re.escape(f"schema {tmp_path / 'none.json'} is missing or damaged")):
        Schema.load(tmp_path / "none.json")

"""A table's values by the types that the catalogue has already."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.attributes.rows import attributes_of_rows
from trident.data.reading import Reading
from trident.data.tables import read_table
from trident.errors import DataError

TYPES = {"price": "number", "in_stock": "boolean", "tags": "list", "size": "keyword"}


def rows(tmp_path: Path, text: str) -> list[dict[str, object]]:
    path = tmp_path / "changes.csv"
    path.write_text(text, encoding="utf-8")
    table = read_table(path, Reading(), required=("product_id",), known=("product_id",), others=True)
    return list(attributes_of_rows(table.drop_columns(["product_id"]), TYPES, path))


def test_text_is_read_by_the_type_of_its_attribute(tmp_path):
    found = rows(tmp_path, "product_id,price,in_stock,tags,size\n1,3,yes,a|b,42\n2,,,,\n")
    assert found == [
        {"price": 3.0, "in_stock": True, "tags": ["a", "b"], "size": "42"},
        {"price": None, "in_stock": None, "tags": None, "size": None},
    ]


def test_an_unknown_column_is_handed_on_so_that_it_is_refused(tmp_path):
    assert rows(tmp_path, "product_id,prise\n1,3\n") == [{"prise": 3.0}]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("price", "cheap", 'price is a number and takes a number, got "cheap" in row 2: mend it'),
        ("in_stock", "perhaps", 'in_stock is a boolean and takes true or false, got "perhaps" in row 2: mend it'),
        ("tags", "[1", r'tags is a list and takes a list of texts, got "\[1" in row 2: mend it'),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_row(tmp_path, column, value, words):
    with pytest.raises(DataError, match=words):
        rows(tmp_path, f"product_id,{column}\n1,\n2,{value}\n")

"""What type a column is: guessed from text, taken from typed files, or asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import Inferred, columns_of, infer, parse_attributes
from trident.attributes.schema import Schema
from trident.data.catalogue import read_catalogue
from trident.errors import ConfigError, DataError


def csv_of(folder: Path, **columns: list[str]) -> Path:
    path = folder / "products.csv"
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(["product_id", "product_title", *names])]
    for number, row in enumerate(rows):
        cells = ['"' + value.replace('"', '""') + '"' for value in row]
        lines.append(",".join([f"p{number}", f"title {number}", *cells]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def inferred(path: Path, **asked: str) -> Inferred:
    return infer(read_catalogue(path, attributes=True).attributes, asked, path)


def types(found: Inferred) -> dict[str, str]:
    return {column.name: column.type for column in found.columns}


def values(found: Inferred, name: str) -> list[Any]:
    return next(column.values.to_pylist() for column in found.columns if column.name == name)


def test_text_is_what_all_of_its_values_are(tmp_path: Path) -> None:
    path = csv_of(
        tmp_path,
        brand=["HP", "Dell", ""],
        price=["10", "-5.50", ""],
        big=["1e3", "0", "12"],
        sku=["007", "12", "3"],
        ean=["59012341234575901", "1", "2"],
        stock=["true", "FALSE", " "],
        tags=['["a", "b"]', "[]", ""],
        mixed=["10", "ten", ""],
        empty=["", " ", ""],
    )
    found = inferred(path)
    assert types(found) == {
        "brand": "keyword",
        "price": "number",
        "big": "number",
        "sku": "keyword",
        "ean": "keyword",
        "stock": "boolean",
        "tags": "list",
        "mixed": "keyword",
    }
    assert found.left_out == {"empty": "it has no values"}
    assert values(found, "price") == [10.0, -5.5, None]
    assert values(found, "stock") == [True, False, None]
    assert values(found, "tags") == [["a", "b"], None, None]


def test_json_and_parquet_keep_their_types(tmp_path: Path) -> None:
    rows = [
        {"sku": "12", "price": 3, "ok": True, "tags": ["a", 1], "big": 2**60, "o": {"x": 1}, "late": None},
        {"sku": "13", "price": 2.5, "ok": None, "tags": [], "big": 1, "o": None},
        {"sku": "", "price": None, "ok": False, "tags": None, "big": 2, "o": {"x": 2}, "late": "x"},
    ]
    path = tmp_path / "products.jsonl"
    products = [{"product_id": str(row), "product_title": "t", **values} for row, values in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in products))
    expected = {
        "sku": "keyword",
        "price": "number",
        "ok": "boolean",
        "tags": "list",
        "big": "keyword",
        "late": "keyword",
    }
    found = inferred(path)
    assert types(found) == expected
    assert found.left_out == {"o": 'no type fits "{\\"x\\": 1}" in row 1'}
    assert values(found, "tags") == [["a", "1"], None, None]
    assert values(found, "big") == [str(2**60), "1", "2"]
    assert values(found, "late") == [None, None, "x"]

    typed = tmp_path / "products.parquet"
    pa.parquet.write_table(
        pa.table(
            {
                "product_id": ["1", "2"],
                "product_title": ["a", "b"],
                "sku": pa.array(["1", "2"]).dictionary_encode(),
                "price": pa.array([1, None], pa.int32()),
                "weight": pa.array([float("nan"), 2.5], pa.float32()),
                "ok": [True, None],
                "tags": [["a"], []],
                "sizes": [[1, 2], None],
                "day": pa.array([0, None], pa.date32()),
                "raw": [b"\xff", b"\x01"],
                "o": [{"x": 1}, None],
            }
        ),
        typed,
    )
    found = inferred(typed)
    assert types(found) == {
        "sku": "keyword",
        "price": "number",
        "weight": "number",
        "ok": "boolean",
        "tags": "list",
        "sizes": "list",
        "day": "keyword",
    }
    assert values(found, "weight") == [None, 2.5]
    assert values(found, "sizes") == [["1", "2"], None]
    assert values(found, "day") == ["1970-01-01", None]
    assert list(found.left_out) == ["raw", "o"]


def test_parts_of_several_types_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "products.jsonl"
    folder.mkdir()
    for name, size in (("a", 3), ("b", "XL")):
        row = {"product_id": name, "product_title": "t", "size": size, **({"only": 1} if name == "b" else {})}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    found = inferred(folder)
    assert types(found) == {"size": "keyword", "only": "number"}
    assert values(found, "size") == ["3", "XL"]
    assert values(found, "only") == [None, 1.0]


def test_as_many_values_as_rows_are_for_display(tmp_path: Path) -> None:
    links = [f"https://example.org/{number}" for number in range(150)]
    path = csv_of(tmp_path, image=links, brand=["HP", "Dell", "HP"] * 50)
    assert types(inferred(path)) == {"image": "display", "brand": "keyword"}
    assert types(inferred(path, image="keyword"))["image"] == "keyword"
    write_attributes(tmp_path, inferred(path), 150)
    assert Attributes.load(tmp_path).of_row(7, ["image", "brand"]) == {"image": links[7], "brand": "Dell"}


def test_a_type_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    path = csv_of(
        tmp_path, a=["007", "+8.", ""], b=["yes", "0", ""], c=["red | blue|red", "green", ""], d=["1", "2", "3"]
    )
    found = inferred(path, a="number", b="boolean", c="list", d="keyword")
    assert values(found, "a") == [7.0, 8.0, None]
    assert values(found, "b") == [True, False, None]
    assert values(found, "c") == [["red", "blue"], ["green"], None]
    assert values(found, "d") == ["1", "2", "3"]
    assert inferred(path, d="none").left_out == {"d": "as asked"}
    assert types(inferred(path, d="display"))["d"] == "display"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"price": "number"}, r'^--attribute price=number takes a number, got "12,50" in row 2 of .*: mend it'),
        ({"far": "number"}, '^--attribute far=number takes a number, got "1e999" in row 2 of'),
        ({"price": "boolean"}, '^--attribute price=boolean takes true or false, got "10" in row 1 of'),
        ({"tags": "list"}, r"^--attribute tags=list takes a list of texts, got \[\[1\], 2\] in row 2 of"),
        ({"prise": "number"}, "^--attribute prise=number: .* has no such column .did you mean 'price'.*, found price,"),
        ({"not": "keyword"}, "^--attribute not=keyword: 'not' is a word of the filter language: rename the column$"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path: Path, asked: dict[str, str], line: str) -> None:
    path = csv_of(tmp_path, price=["10", "12,50"], far=["1", "1e999"], tags=["[1]", "[[1], 2]"], **{"not": ["a", "b"]})
    with pytest.raises(DataError, match=line):
        inferred(path, **asked)


def test_a_word_of_the_language_is_left_out(tmp_path: Path) -> None:
    found = inferred(csv_of(tmp_path, any=["a"], brand=["HP"]))
    assert found.left_out == {"any": "'any' is a word of the filter language"}


def test_the_option_is_read() -> None:
    assert parse_attributes(["a=number", "b=c=list", "a=number"]) == {"a": "number", "b=c": "list"}
    assert parse_attributes(None) == {}


@pytest.mark.parametrize(
    ("items", "line"),
    [
        (["price"], "^--attribute takes NAME=TYPE, got 'price'$"),
        (["=number"], "^--attribute takes NAME=TYPE, got '=number'$"),
        (["price=numbr"], "^--attribute: 'price' must be one of keyword, .*, got 'numbr' .did you mean 'number'"),
        (["a=list", "a=number"], "^--attribute gives a field one type, got 'list' and 'number' for 'a'$"),
    ],
)
def test_a_bad_option_is_refused(items: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        parse_attributes(items)


def test_checked_products_are_columns_again(tmp_path: Path, schema: Schema) -> None:
    given = [
        {"brand": "HP", "price": 7, "tags": ["b", "a"], "image": "x"},
        {"in_stock": False, "tags": [], "brand": ""},
    ]
    checked = [schema.check(each, "upsert") for each in given]
    write_attributes(tmp_path, columns_of(schema, checked), 2)
    found = Attributes.load(tmp_path)
    assert [field.name for field in found.schema.fields] == [field.name for field in schema.fields]
    names = list(schema.by_name)
    assert found.of_row(0, names) == {"brand": "HP", "price": 7, "in_stock": None, "tags": ["b", "a"], "image": "x"}
    assert found.of_row(1, names) == {"brand": None, "price": None, "in_stock": False, "tags": None, "image": None}

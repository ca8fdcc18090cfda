"""JSON Lines and JSON arrays: values as they are written, whatever stands in columns that nobody needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.errors import DataError


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2000000000011.0", "2000000000011"),
        ("12345678901234567891", "12345678901234567891"),
        ("2.000000000011e+12", "2000000000011"),
        ("-0.0", "0"),
        ('"007"', "007"),
        ('"2024-01-02"', "2024-01-02"),
        ("19.50", "19.50"),
    ],
)
def test_ids_are_what_is_written(tmp_path: Path, written: str, expected: str) -> None:
    path = write(tmp_path / "c.jsonl", f'{{"product_id": {written}, "product_title": "lamp"}}')
    assert read_catalogue(path).product_ids == [expected]


def test_values_of_any_types_stand_in_one_attribute(tmp_path: Path) -> None:
    rows = (19.5, "from 14.50", None, ["a", 1.0], {"b": 2}, True)
    lines = [
        json.dumps({"product_id": row, "product_title": f"lamp {row}", "x": x, **({"late": 1} if row == 5 else {})})
        for row, x in enumerate(rows)
    ]
    catalogue = read_catalogue(write(tmp_path / "c.ndjson", lines[0], "", *lines[1:]), attributes=True)
    found = catalogue.attributes["x"].to_pylist()  # no type holds an object: its text is kept to tell of it
    assert found == [b"19.5", b"from 14.50", None, b'["a", 1.0]', b'{"b": 2}', b"true"]
    assert catalogue.attributes["late"].to_pylist() == [None] * 5 + [1.0]
    assert read_catalogue(tmp_path / "c.ndjson").attributes.column_names == []


def test_an_array_and_a_long_row_are_read(tmp_path: Path) -> None:
    rows = [
        {"product_id": row, "product_title": f"lamp {row}", "html": "A" * size}
        for row, size in ((1, 1), (2, 3_000_000))
    ]
    assert len(read_catalogue(write(tmp_path / "c.json", json.dumps(rows, indent=1)))) == 2
    assert len(read_catalogue(write(tmp_path / "c.jsonl", *map(json.dumps, rows)))) == 2


def test_truth_values_are_labels(tmp_path: Path) -> None:
    row = {"query": "lamp", "product_title": "Brass lamp"}
    lines = [json.dumps({**row, "relevance_label": label}) for label in (True, False, "TRUE", 1.0, "0")]
    assert read_pairs(write(tmp_path / "p.jsonl", *lines)).labels.tolist() == [1, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"product_id": 1, "product_title": ["a"]}', r"must hold text or numbers, got a list \(\[\"a\"\]\) in line 1"),
        ('{"product_id": 1}\n{"product_id"', r"line 2 is no JSON \(Expecting ':' delimiter at character 14\)"),
        ('{"products": [1]}', r"holds one object with products: one object a line, .* or one array"),
        ("[1]", r"must hold objects, got a value \(1\) in row 1: one object a line"),
        ('[{"product_id": 1},]', "begins as a JSON array and cannot be read as one: .*; one object a line"),
        ('{"product_id": NaN, "product_title": "a"}', "'product_id' must not be empty: 1 row is"),
        ("[]", "column 'product_id' is missing in .*: found none"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_objects(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_catalogue(write(tmp_path / "c.json", text))

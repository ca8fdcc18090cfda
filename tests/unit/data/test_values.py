"""What values of typed files are as text: as a person would write them, ids above all."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from trident.data.catalogue import read_catalogue
from trident.errors import DataError


def catalogue_of(path: Path, **columns: Any) -> Path:
    count = len(next(iter(columns.values())))
    table = {"product_id": [str(row) for row in range(count)], "product_title": [f"lamp {row}" for row in range(count)]}
    pyarrow.parquet.write_table(pa.table(table | columns), path)
    return path


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([2000000000011.0, 7.0]), ["2000000000011", "7"]),
        (pa.array([1001.0, 7.0], pa.float32()), ["1001", "7"]),
        (pa.array([12345678901234567891, 7], pa.uint64()), ["12345678901234567891", "7"]),
        (pa.array([Decimal("1001.000"), Decimal("1.500")], pa.decimal128(38, 3)), ["1001", "1.500"]),
        (pa.array([Decimal("12345678901234567890123")], pa.decimal128(38, 0)), ["12345678901234567890123"]),
        (pa.array([Decimal("0E-9")], pa.decimal128(38, 9)), ["0"]),
        (pa.array(["007", "7 "]), ["007", "7 "]),
        (pa.array(["007", "8"]).dictionary_encode(), ["007", "8"]),
        (pa.array([b"007"]), ["007"]),
    ],
)
def test_ids_are_what_they_were(tmp_path: Path, values: pa.Array, expected: list[str]) -> None:
    assert read_catalogue(catalogue_of(tmp_path / "c.parquet", product_id=values)).product_ids == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([19.5, float("nan"), None]), [19.5, None, None]),
        (pa.array([1e20, -3.0, 0.1]), [1e20, -3.0, 0.1]),
        (pa.array([2.5, 1.0], pa.float16()), [2.5, 1.0]),
        (pa.array([7, None], pa.int8()), [7.0, None]),
        (pa.array([2**60, 7, None]), [str(2**60), "7", None]),
        (pa.array([Decimal("1.50"), None], pa.decimal128(38, 2)), [1.5, None]),
        (pa.array([True, None]), [True, None]),
        (pa.array(["a", " ", "", None]), ["a", None, None, None]),
        (pa.array([datetime.date(2024, 1, 2)]), ["2024-01-02"]),
        (pa.array([1704153600_000_000_000], pa.timestamp("ns", "UTC")), ["2024-01-02 00:00:00Z"]),
        (pa.array([1704164645_250], pa.timestamp("ms")), ["2024-01-02 03:04:05.250"]),
        (pa.array([["oak", "brass"], None]), [["oak", "brass"], None]),
        (pa.array([{"Colour": "grün"}]), ['{"Colour": "grün"}'.encode()]),  # no type holds an object
        (pa.array([b"oak"]), ["oak"]),
        (pa.array([b"\xff"]), [b"\xff"]),
    ],
)
def test_attributes_are_what_they_were(tmp_path: Path, values: pa.Array, expected: list[Any]) -> None:
    catalogue = read_catalogue(catalogue_of(tmp_path / "c.parquet", x=values), attributes=True)
    assert catalogue.attributes["x"].to_pylist() == expected


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "product_id",
            pa.array([2.0**53 + 2]),
            r"column 'product_id' of .* is of type double, whose digits are lost above 9,007,199,254,740,992, got "
            r"9007199254740994 in row 1: save ids as text or as whole numbers",
        ),
        (
            "product_id",
            pa.array([7.0, 2.0**24 + 2], pa.float32()),
            "of type float, whose digits are lost .* in row 2",
        ),
        ("product_title", pa.array([["a"]]), "'product_title' of .* is of type list<.*>, text or numbers are needed"),
        ("product_title", pa.array([b"\xff"]), "'product_title' of .* is of type binary, text or numbers are needed"),
        ("product_id", pa.array([None, 1.0]), "'product_id' must not be empty: 1 row is, the first is row 1"),
    ],
)
def test_columns_of_the_contract_that_cannot_be_text(
    tmp_path: Path, column: str, values: pa.Array, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_catalogue(catalogue_of(tmp_path / "c.parquet", **{column: values}))

"""Pairs and catalogues: every format, and one clear line for every fault."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.labels import LabelRule
from trident.data.pairs import normalized_query, read_pairs
from trident.data.reading import Reading
from trident.errors import DataError, GenerationError

ROWS = [("usb cable", "007", "Alba USB cable 1 m", "1"), ("usb cable", "008", "Borex kettle, red", "0")]
HEADER = ("query", "product_id", "product_title", "relevance_label")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def as_csv(rows: list[tuple[str, ...]], header: tuple[str, ...] = HEADER, delimiter: str = ",") -> str:
    lines = [header, *rows]
    return "".join(delimiter.join(f'"{cell}"' for cell in line) + "\n" for line in lines)


def test_every_format_gives_the_same_pairs(tmp_path: Path) -> None:
    as_json = "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS)
    table = pa.table({name: [row[column] for row in ROWS] for column, name in enumerate(HEADER)})
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    write(tmp_path / "pairs.csv", as_csv(ROWS))
    write(tmp_path / "pairs.tsv", as_csv(ROWS, delimiter="\t"))
    write(tmp_path / "pairs.jsonl", as_json)
    for name in ("pairs.csv", "pairs.tsv", "pairs.jsonl"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for path in sorted(tmp_path.iterdir()):
        pairs = read_pairs(path)
        assert pairs.product_ids == ["007", "008"], path
        assert pairs.titles == [ROWS[0][2], ROWS[1][2]], path
        assert pairs.labels.tolist() == [1, 0], path


def test_numbers_in_json_lines_are_ids_and_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", '{"query": "a", "product_id": 7, "product_title": "b", "relevance_label": 1}\n')
    pairs = read_pairs(path)
    assert (pairs.product_ids, pairs.labels.tolist()) == (["7"], [1])


def test_columns_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", "q,title,label\nusb cable,Alba cable,1\n")
    columns = {"query": "q", "product_title": "title", "relevance_label": "label"}
    pairs = read_pairs(path, Reading(columns=columns))
    assert (pairs.queries, pairs.titles, pairs.product_ids) == (["usb cable"], ["Alba cable"], ["Alba cable"])


def test_missing_column_names_those_found_and_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", "query,product_titel,relevance_label\na,b,1\n")
    with pytest.raises(
        DataError,
        match=r"column 'product_title' is missing in .*did you mean 'product_titel'\?\): found query, product_titel",
    ):
        read_pairs(path)


def test_missing_mapped_column_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", as_csv(ROWS))
    with pytest.raises(DataError, match="column 'queries' is missing"):
        read_pairs(path, Reading(columns={"query": "queries"}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pairs.csv", "", "is empty: a header and at least one row"),
        ("pairs.csv", "query,product_title,relevance_label\n", "has a header and no rows"),
        ("pairs.csv", "query,product_title,relevance_label\na,b\n", "cannot be read as csv"),
        ("pairs.csv", "query,query,product_title,relevance_label\na,a,b,1\n", "column 'query' occurs more than once"),
        ("pairs.jsonl", "{", "cannot be read as jsonl"),
        ("pairs.parquet", "no parquet", "cannot be read as parquet"),
        ("pairs.xlsx", "x", "must end in .csv, .tsv, .jsonl"),
        ("pairs.csv", "query,product_title,relevance_label\na,b,2\n", "must be 0 or 1, got 2 in row 1"),
        ("pairs.csv", "query,product_title,relevance_label\na,b,yes\n", "must hold numbers, got 'yes' in row 1"),
        ("pairs.csv", "query,product_title,relevance_label\na,b,nan\n", "must hold finite numbers, got 'nan' in row 1"),
        (
            "pairs.csv",
            "query,product_title,relevance_label\na,b,1\n  ,b,1\n",
            "'query' must not be empty: 1 row is, the first is row 2",
        ),
        (
            "pairs.csv",
            "query,product_title,relevance_label\na,,1\nc,,0\n",
            "'product_title' must not be empty: 2 rows are",
        ),
        ("pairs.csv", "query,product_title,relevance_label,grade\na,b,1,-1\n", "grades must be >= 0, got -1 in row 1"),
        (
            "pairs.csv",
            as_csv([ROWS[0], ("x", "007", "Other", "0")]),
            "product_id '007' must have one title, got 'Alba USB",
        ),
    ],
)
def test_faults_of_pairs(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_pairs(write(tmp_path / name, text))
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.csv does not exist"):
        read_pairs(tmp_path / "pairs.csv")


def test_graded_labels_need_a_threshold(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", "query,product_title,relevance_label\na,b,3\na,c,1\n")
    with pytest.raises(DataError, match=r"set --positive-from LOWEST_RELEVANT, from which on"):
        read_pairs(path)
    pairs = read_pairs(path, labels=LabelRule(positive_from=2))
    assert (pairs.labels.tolist(), pairs.grades.tolist()) == ([1, 0], [3.0, 1.0])


def test_titles_from_the_catalogue(tmp_path: Path) -> None:
    catalogue = read_catalogue(write(tmp_path / "c.csv", "product_id,product_title\n007,Alba cable\n"))
    pairs = write(tmp_path / "pairs.csv", "query,product_id,relevance_label\na,007,1\n")
    assert read_pairs(pairs, catalogue=catalogue).titles == ["Alba cable"]
    write(pairs, "query,product_id,relevance_label\na,07,1\n")
    with pytest.raises(DataError, match=r"product_id '07' in row 1 of .* is not in the catalogue"):
        read_pairs(pairs, catalogue=catalogue)


def test_pairs_round_trip(tmp_path: Path) -> None:
    pairs = read_pairs(write(tmp_path / "pairs.csv", as_csv(ROWS)))
    pairs.save(tmp_path / "pairs.parquet")
    again = read_pairs(tmp_path / "pairs.parquet")
    assert (again.queries, again.titles, again.product_ids) == (pairs.queries, pairs.titles, pairs.product_ids)
    assert (again.labels == pairs.labels).all()
    assert (again.grades == pairs.grades).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("product_id,name\n1,kettle\n", "column 'product_title' is missing"),
        ("product_id,product_title\n1,\n", "'product_title' must not be empty: 1 row is, the first is row 1"),
        ("product_id,product_title\n,kettle\n", "'product_id' must not be empty"),
        (
            "product_id,product_title\n1,kettle\n1,toaster\n",
            "'1' must have one title, got 'kettle' in row 1 and 'toaster' in row 2",
        ),
    ],
)
def test_faults_of_a_catalogue(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_catalogue(write(tmp_path / "products.csv", text))


def test_catalogue_keeps_attributes_and_drops_repeated_rows(tmp_path: Path) -> None:
    text = "product_id,product_title,brand\n01,kettle,Alba\n01,kettle,Alba\n2,toaster,Borex\n"
    catalogue = read_catalogue(write(tmp_path / "products.csv", text), attributes=True)
    assert catalogue.product_ids == ["01", "2"]
    assert catalogue.attributes["brand"].to_pylist() == ["Alba", "Borex"]
    catalogue.save(tmp_path / "c.parquet")
    again = Catalogue.load(tmp_path / "c.parquet")
    assert (again.product_ids, again.titles) == (catalogue.product_ids, catalogue.titles)
    assert again.attributes.column_names == []  # they have files of their own


def test_damaged_saved_catalogue(tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_bytes(b"ARROW1")
    with pytest.raises(GenerationError, match="missing or damaged"):
        Catalogue.load(tmp_path / "c.parquet")


def test_queries_are_compared_case_folded() -> None:
    assert normalized_query("  USB\tCable ") == normalized_query("usb cable")

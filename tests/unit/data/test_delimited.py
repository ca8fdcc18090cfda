"""CSV and TSV as people have them: delimiters, quotation marks, line ends, headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.errors import DataError

HEADER = "product_id,product_title\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    ("name", "text", "titles"),
    [
        ("c.csv", "product_id\tproduct_title\n1\tLamp, brass\n", ["Lamp, brass"]),
        ("c.csv", 'product_id;product_title;price\n1;"Lamp; brass";3,5\n', ["Lamp; brass"]),
        ("c.csv", "product_id|product_title\n1|Lamp, brass\n", ["Lamp, brass"]),
        ("c.tsv", "product_id,product_title\n1,Lamp\n", ["Lamp"]),
        ("c.csv", "sep=;\nproduct_id;product_title\n1;Lamp, brass\n", ["Lamp, brass"]),
        ("c.csv", "product_id;product_title;price, EUR\n1;Lamp;3\n", ["Lamp"]),
        ("c.csv", "product_id, product_title\n1,Lamp\n", ["Lamp"]),
        ("c.csv", "\n" + HEADER + "1,Lamp\n\n\n2,Hose\n\n", ["Lamp", "Hose"]),
        ("c.csv", HEADER.replace("\n", "\r\n") + "1,Lamp\r\n2,Hose", ["Lamp", "Hose"]),
        ("c.csv", HEADER.replace("\n", "\r") + "1,Lamp\r2,Hose\r", ["Lamp", "Hose"]),
        ("c.csv", "\ufeff" + HEADER + "1,Lamp\n", ["Lamp"]),
        ("c.csv", HEADER + "1," + "Lamp " * 700_000 + "\n", ["Lamp " * 700_000]),
        ("c.csv", '"product\n_note",product_id,product_title\nx,1,Lamp\n', ["Lamp"]),
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, name: str, text: str, titles: list[str]) -> None:
    assert read_catalogue(write(tmp_path / name, text)).titles == titles


@pytest.mark.parametrize(
    ("name", "text", "titles"),
    [
        ("c.csv", '1,"Lamp\nof brass"\n\n2,"Hose ""green"", long"\n', ["Lamp\nof brass", 'Hose "green", long']),
        ("c.csv", '1,Shelf 48" wide\n2,Rug\n', ['Shelf 48" wide', "Rug"]),
        ("c.tsv", '1\t"Zen hose\n2\tRug\n3\tShelf 48" wide\n', ['"Zen hose', "Rug", 'Shelf 48" wide']),
        ("c.tsv", '1\t"Zen" hose\n2\tRug\n', ['"Zen" hose', "Rug"]),
        ("c.tsv", '1\t"Zen ""green"" hose"\n2\t"Rug\tround"\n', ['Zen "green" hose', "Rug\tround"]),
        ("c.tsv", '1\t"Zen\nhose"\n2\tRug\n', ["Zen\nhose", "Rug"]),
    ],
)
def test_quotation_marks_lose_no_row(tmp_path: Path, name: str, text: str, titles: list[str]) -> None:
    header = HEADER.replace(",", "\t") if name.endswith("tsv") else HEADER
    assert read_catalogue(write(tmp_path / name, header + text)).titles == titles


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", '1,"Zen hose\n2,Rug\n3,Shelf 48"\n4,Jute\n', "mark in line 2 takes the text up to line 4 into one"),
        ("c.csv", '1,"Zen hose\n2,Rug\n3,Oak "Shelf" x\n', "up to line 4 into one value, which does not look"),
        ("c.csv", '1,Lamp\n2,"Zen hose\n3,Rug\n', "in line 3 takes the text up to line 4 .*: double each quot"),
        ("c.tsv", '0\t"Whole"\n1\t"Zen hose\n2\tRug\n3\tShelf 48"\n', "in line 3 takes the text up to line 5"),
        ("c.csv", "1,Lamp\n2,Hose, green\n", "csv: line 3 has 3 columns and the header 2: put a value that"),
        ("c.csv", "1,Lamp\n2\n", "line 3 has 1 columns and the header 2"),
        ("c.tsv", "1\tLamp\n2\tHose\tgreen\n", "c.tsv cannot be read as tsv: line 3 has 3 columns .* holds a tab"),
    ],
)  # fmt: skip
def test_rows_that_would_vanish_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    header = HEADER.replace(",", "\t") if name.endswith("tsv") else HEADER
    with pytest.raises(DataError, match=message) as caught:
        read_catalogue(write(tmp_path / name, header + text))
    assert "\n" not in str(caught.value)


def test_columns_without_a_name_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "c.csv", "product_id,product_title,, \n1,Lamp,,\n2,Hose,,\n")
    with caplog.at_level("INFO"):
        assert read_catalogue(path, attributes=True).attributes.column_names == []
    assert not caplog.text
    write(path, ",product_id,product_title\n0,1,Lamp\n1,2,Hose\n")
    assert read_catalogue(path, attributes=True).product_ids == ["1", "2"]
    assert "c.csv: column 1 has no name and is left out, with 2 values" in caplog.text


def test_names_that_stand_twice_matter_where_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "product_id,product_title,x,x\n1,Lamp,a,b\n")
    assert len(read_catalogue(path)) == 1
    with pytest.raises(DataError, match="column 'x' occurs more than once in"):
        read_catalogue(path, attributes=True)


def test_titles_of_one_product_may_differ_in_white_space(tmp_path: Path) -> None:
    text = "query,product_id,product_title,relevance_label\na,1,Brass lamp,1\nb,1,Brass  lamp ,0\n"
    assert read_pairs(write(tmp_path / "p.csv", text)).titles == ["Brass lamp", "Brass lamp"]
    write(tmp_path / "c.csv", HEADER + "1,Brass lamp\n1,Brass lamp \n2,Hose\n")
    assert read_catalogue(tmp_path / "c.csv").product_ids == ["1", "2"]

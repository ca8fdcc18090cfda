"""Files as people have them: encodings, packing, suffixes, folders of parts."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from trident.data.catalogue import read_catalogue
from trident.data.reading import Reading
from trident.errors import DataError

TEXT = "product_id,product_title\n1,Café table € oak\n"
PLAIN = "product_id,product_title\n1,Lamp\n"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8-sig", None), ("utf-16", None), ("utf-16-le", "utf-16-le"), ("cp1252", "windows-1252"), ("utf-8", "UTF8")],
)
def test_encodings_that_are_said_or_marked(tmp_path: Path, encoding: str, said: str | None) -> None:
    path = write(tmp_path / "c.csv", TEXT.encode(encoding))
    assert read_catalogue(path, Reading(encoding=said)).titles == ["Café table € oak"]


@pytest.mark.parametrize(
    ("content", "said", "message"),
    [
        (
            TEXT.encode("cp1252"),
            None,
            r"c\.csv must be UTF-8, got byte 0xe9 in line 2 \('1,Café table.* in Latin-1\): say which encoding it is "
            r"in, such as --encoding cp1252, or save it as UTF-8",
        ),
        ("product_id,product_title,größe\n1,a,b\n".encode("latin-1"), None, "got byte 0xf6 in line 1"),
        (TEXT.encode("utf-16-le"), None, "as in UTF-16 without a byte order mark: say so with --encoding utf-16"),
        (TEXT.encode("cp1252"), "latin-1", "from 0x80 to 0x9f, for which Latin-1 has no letters: .*--encoding cp1252"),
        (TEXT.encode(), "latin-9x", "--encoding latin-9x: there is no such encoding; try utf-8, cp1252"),
        (TEXT.encode("cp1252"), "utf-8", "c.csv cannot be read in utf-8: .* at byte 3"),
    ],
)  # fmt: skip
def test_encodings_that_do_not_fit(tmp_path: Path, content: bytes, said: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_catalogue(write(tmp_path / "c.csv", content), Reading(encoding=said))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("C.CSV", PLAIN.encode()),
        ("c.Csv.GZ", gzip.compress(PLAIN.encode(), mtime=0)),
        ("c.csv", gzip.compress(PLAIN.encode(), mtime=0)),
        ("c.csv.gz", PLAIN.encode()),
        ("c.csv.bz2", bz2.compress(PLAIN.encode())),
        ("c.csv.gz", gzip.compress(PLAIN[:30].encode(), mtime=0) + gzip.compress(PLAIN[30:].encode(), mtime=0)),
    ],
)
def test_packing_is_found_by_content(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_catalogue(write(tmp_path / name, content)).titles == ["Lamp"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv.gz", gzip.compress(PLAIN.encode() * 99, mtime=0)[:50], "c.csv.gz cannot be read as csv: Truncated"),
        ("c.csv", b"PK\x03\x04 no table", r"is a zip archive \(as Excel workbooks are\): unpack it, or save"),
        ("c.parquet", b"PAR1 no table", "c.parquet cannot be read as parquet"),
        ("c.csv", b"\n \n", "c.csv is empty: a header and at least one row are needed"),
        ("c.xls", b"x", r"must end in \.csv, \.tsv, \.jsonl, \.ndjson, \.json, \.parquet .*got '\.xls'"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_catalogue(write(tmp_path / name, content))


def test_parquet_is_known_by_content_and_by_any_column_name(tmp_path: Path) -> None:
    table = pa.table({"product.id": ["1"], "product": [{"id": "x"}], "product_title": ["Lamp"]})
    pyarrow.parquet.write_table(table, tmp_path / "c.csv")
    catalogue = read_catalogue(tmp_path / "c.csv", Reading(columns={"product_id": "product.id"}), attributes=True)
    assert (catalogue.product_ids, catalogue.attributes["product"].to_pylist()) == (["1"], [b'{"id": "x"}'])


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "products.csv"
    write(folder / "_SUCCESS", b"")
    write(folder / ".part-00000.crc", b"x")
    write(folder / "part-00000", PLAIN.encode())
    write(folder / "part-00001", b"product_title,brand,product_id\nHose,Alba,2\n")
    write(folder / "part-00002", b"")
    write(folder / "part-00003", b"product_id,product_title\n")
    catalogue = read_catalogue(folder, attributes=True)
    assert (catalogue.product_ids, catalogue.titles) == (["1", "2"], ["Lamp", "Hose"])
    assert catalogue.attributes["brand"].to_pylist() == [None, "Alba"]


def test_names_of_folders_are_columns(tmp_path: Path) -> None:
    for locale in ("us", "de"):
        write(
            tmp_path / "c" / f"locale={locale}" / "part-0.csv.gz",
            gzip.compress(f"{PLAIN}{locale},Rug {locale}\n".encode()),
        )
    catalogue = read_catalogue(tmp_path / "c", Reading(columns={"product_locale": "locale"}))
    assert catalogue.product_ids == ["de:1", "de:de", "us:1", "us:us"]


@pytest.mark.parametrize(
    ("names", "got"),
    [((), "nothing"), (("a.csv", "b.parquet"), r"\.csv, \.parquet"), (("a",), "a: give one file instead")],
)
def test_folders_of_something_else(tmp_path: Path, names: tuple[str, ...], got: str) -> None:
    (tmp_path / "c").mkdir()
    for name in names:
        write(tmp_path / "c" / name, PLAIN.encode())
    with pytest.raises(DataError, match=f"folder .* must hold the parts of one table, .* got {got}"):
        read_catalogue(tmp_path / "c")

"""Texts in Arrow's layout are what the list was, whether in memory, cut out of a larger one, or mapped from a file."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trident.data.catalogue import CATALOGUE_FILE, MAX_ID_BYTES, Catalogue, read_catalogue
from trident.data.texts import BLOCK_ROWS, RowsByText, Texts
from trident.errors import DataError, GenerationError

WORDS = ["", "Tee", "Größe", "茶", "Ägypten 🫖", "a" * 300]


@pytest.fixture(scope="module")
def plain() -> list[str]:
    rng = random.Random(7)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, 4))) for _ in range(1000)]


def mapped(texts: list[str], folder: Path) -> Texts:
    ids = [f"p{row}" for row in range(len(texts))]
    Catalogue(ids, texts, pa.table({"brand": ids})).save(folder / CATALOGUE_FILE)
    return Catalogue.load(folder / CATALOGUE_FILE).texts[1]


def test_texts_are_the_list_they_were_made_of(plain: list[str], tmp_path: Path) -> None:
    cut = pa.chunked_array([pa.array(["x", *plain[:400]])[1:], pa.array([*plain[400:], "x"])[:-1]])
    for texts in (
        Texts.of(plain),
        Texts.of(cut),
        mapped(plain, tmp_path),
        Texts.of(["x", *plain]).take(range(1, 1001)),
    ):
        assert texts == plain
        assert plain == texts
        assert texts == Texts.of(tuple(plain))
        assert texts != [*plain, ""]
        assert [texts[0], texts[-1], texts[5:9], texts[::17]] == [plain[0], plain[-1], plain[5:9], plain[::17]]
        assert list(texts) == plain
        rows = np.array([[3, -1], [999, 0]])
        expected = [[plain[3].encode(), b""], [plain[999].encode(), plain[0].encode()]]
        assert texts.bytes_at(rows).tolist() == expected
        for count in (10, 600):  # by slices, and by Arrow
            assert texts.bytes_at(np.arange(count)).tolist() == [text.encode() for text in plain[:count]]
        assert max(len(each.encode()) for each in plain) == texts.longest()[1]
        with pytest.raises(IndexError, match="row must be one of 1000, got 1000"):
            texts[1000]


def test_no_texts() -> None:
    none = Texts.of([])
    assert (len(none), list(none), none.longest(), none.bytes_at(np.array([-1])).tolist()) == (0, [], (0, 0), [b""])


def test_equal_texts_are_found(plain: list[str]) -> None:
    texts = Texts.of(plain)
    seen: dict[str, int] = {}
    assert texts.first_rows().tolist() == [seen.setdefault(each, row) for row, each in enumerate(plain)]
    assert texts.rows_of([plain[30], "nowhere", plain[500]]) == {each: seen[each] for each in (plain[30], plain[500])}
    assert Texts.of(["b", "a"]).first_rows().tolist() == [0, 1]


def test_more_texts_than_a_block() -> None:
    plain = [str(row) for row in range(BLOCK_ROWS + 3)]
    assert list(Texts.of(plain)) == plain
    assert repr(Texts.of(plain)) == "<65,539 texts, '0', '1', …>"


def test_equal_catalogues_give_equal_bytes(plain: list[str], tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        mapped(plain, tmp_path / name)
        written.append((tmp_path / name / CATALOGUE_FILE).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_catalogue_that_is_cut_off_is_refused(plain: list[str], tmp_path: Path, share: float) -> None:
    mapped(plain, tmp_path)
    path = tmp_path / CATALOGUE_FILE
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(GenerationError, match=r"catalogue\.arrow is missing or damaged: .*; export again"):
        Catalogue.load(path)


@pytest.mark.parametrize("size", [MAX_ID_BYTES + 1, 10_000])
@pytest.mark.parametrize("letter", ["x", "茶"])
def test_an_id_that_is_too_long_is_refused(tmp_path: Path, size: int, letter: str) -> None:
    long = letter * (size // len(letter.encode()) + 1)
    (tmp_path / "c.tsv").write_text(f"product_id\tproduct_title\n1\tkettle\n{long}\tlamp\n", encoding="utf-8")
    message = rf"at most 2,048 bytes, got \d+,\d+ in row 2 of .*c\.tsv \('{letter}+…'\): name another column with"
    with pytest.raises(DataError, match=message):
        read_catalogue(tmp_path / "c.tsv")


def test_an_id_as_long_as_allowed_is_taken(tmp_path: Path) -> None:
    long = "x" * MAX_ID_BYTES
    (tmp_path / "c.tsv").write_text(f"product_id\tproduct_title\n{long}\tlamp\n", encoding="utf-8")
    assert read_catalogue(tmp_path / "c.tsv").product_ids == [long]


def test_a_catalogue_of_one_product(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("product_id\tproduct_title\n1\tlamp\n", encoding="utf-8")
    catalogue = read_catalogue(tmp_path / "c.tsv")
    catalogue.save(tmp_path / CATALOGUE_FILE)
    again = Catalogue.load(tmp_path / CATALOGUE_FILE)
    assert (again.product_ids, again.titles, len(again)) == (["1"], ["lamp"], 1)


def test_rows_are_found_by_text():
    texts = Texts.of(["b", "größe", "", "a", "b1"])
    rows = RowsByText(texts)
    assert [rows.row(text) for text in texts] == [0, 1, 2, 3, 4]
    assert [rows.row(text) for text in ("c", "B", "gr", "b\0")] == [None] * 4
    assert RowsByText(Texts.of([])).row("a") is None


def test_rows_are_found_where_many_hashes_are_equal(monkeypatch):
    monkeypatch.setattr("trident.data.texts.HASH_BITS", 3)
    texts = [f"product {number}" for number in range(200)]
    rows = RowsByText(Texts.of(texts))
    assert [rows.row(text) for text in texts] == [*range(200)]
    assert rows.row("product 200") is None

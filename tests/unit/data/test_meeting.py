"""Ids of pairs that are not those of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.meeting import meet, titles_of
from trident.errors import DataError


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "c.csv").write_text("product_id,product_title\n1001,Lamp\n007,Hose\nAB 1,Rug\n2000000000011,Shelf\n")
    return read_catalogue(tmp_path / "c.csv")


@pytest.mark.parametrize("spelt", ["1001.0", " 1001", "01001", "7", "ab1", "AB 1 ", "2.000000000011e+12"])
def test_another_spelling_is_found_and_refused(catalogue: Catalogue, spelt: str) -> None:
    meeting = meet([spelt, "1001"], catalogue)
    assert (meeting.products, meeting.missing) == (2, (spelt,))
    with pytest.raises(DataError, match=r"1 of the 2 products of p\.csv are not in the catalogue c\.csv, such as .*; "
                       r"1 are there when spelt otherwise \('.*' as '.*'\): mend them"):  # fmt: skip
        meeting.require("p.csv", "c.csv", "mend them")


def test_products_that_are_gone_are_counted_and_told(catalogue: Catalogue) -> None:
    meeting = meet(["9", "1001", "9", "8"], catalogue)
    meeting.require("p.csv", "c.csv", "mend them")
    assert meeting.text("p.csv", "c.csv") == (
        "2 of the 3 products of p.csv are not in the catalogue c.csv, such as '9', '8'"
    )
    assert meet(["1001"], catalogue).text("p.csv", "c.csv") == ""


def test_no_common_product_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(DataError, match="products must have one id in pairs and catalogue: 2 of the 2 products"):
        meet(["9", "8"], catalogue).require("p.csv", "c.csv", "mend them")


def test_titles_by_ids_that_are_not_there(catalogue: Catalogue) -> None:
    with pytest.raises(DataError, match=r"product_id '7' in row 2 of p.csv is not in the catalogue, which gives the "
                       r"titles: 1 of the 2 products .* \('7' as '007'\)"):  # fmt: skip
        titles_of(["1001", "7"], catalogue, Path("p.csv"))

"""What ``trident evaluate`` refuses and notes about the pairs that it judges on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError, DataError
from trident_train.judge.evaluate import Row
from trident_train.report.judge import Request, judge, prepare

HEADER = "query,product_id,product_title,relevance_label,split\n"
LAMP, HOSE = "lamp,1,crimson kettle,1,test\nlamp,2,navy sofa,0,test\n", "sofa,2,navy sofa,1,dev\n"


def judged(
    model: Path, folder: Path, text: str, catalogue: str | None = None, **request: Any
) -> tuple[list[Row], list[str]]:
    (folder / "p.csv").write_text(HEADER + text)
    if catalogue is not None:
        (folder / "c.csv").write_text("product_id,product_title\n" + catalogue)
        request["catalogue"] = folder / "c.csv"
    prepared = prepare(Request(model=str(model), pairs=folder / "p.csv", **request))
    return judge(prepared, progress=lambda _: None)


def test_a_pair_labelled_both_ways_is_refused_or_left_out(tiny_model: Path, tmp_path: Path) -> None:
    both = LAMP + "LAMP,1,crimson kettle,0,test\nlamp,3,oak shelf,1,test\n"
    with pytest.raises(DataError, match=r"no pair may be relevant and irrelevant, .* out with --contradictions drop"):
        judged(tiny_model, tmp_path, both)
    rows, notes = judged(tiny_model, tmp_path, both, contradictions="drop")
    assert rows[0].judged.pairs == 2
    assert "2 pairs that are relevant and irrelevant were left out" in notes
    with pytest.raises(ConfigError, match="--contradictions must be refuse or drop, got 'keep'"):
        judged(tiny_model, tmp_path, both, contradictions="keep")


def test_clicks_are_ranked_among_others(tiny_model: Path, tmp_path: Path) -> None:
    rows, notes = judged(tiny_model, tmp_path, "lamp,1,crimson kettle,1,test\nsofa,2,navy sofa,1,test\n")
    assert rows[0].judged.pairs == 4
    assert any(note.startswith("all pairs are relevant: they were ranked among up to 50 other") for note in notes)


def test_products_that_the_catalogue_lacks_are_noted_or_refused(tiny_model: Path, tmp_path: Path) -> None:
    _, notes = judged(tiny_model, tmp_path, LAMP + HOSE, "1,crimson kettle\n3,oak shelf\n")
    assert any("1 of the 2 products of" in note and "are not in the catalogue" in note for note in notes)
    with pytest.raises(DataError, match=r"2 of the 2 products of .*: mend the ids, or leave out --catalogue"):
        judged(tiny_model, tmp_path, LAMP + HOSE, "8,crimson kettle\n9,oak shelf\n")
    with pytest.raises(DataError, match=r"1 are there when spelt otherwise \('2' as '02'\)"):
        judged(tiny_model, tmp_path, LAMP + HOSE, "1,crimson kettle\n02,oak shelf\n")


def test_splits_that_are_not_there(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is in split 'tset' \(did you mean 'test'\?\): found dev, test"):
        judged(tiny_model, tmp_path, LAMP + HOSE, split="tset")


def test_a_run_has_a_row_for_each_stage(tiny_run: Path, tiny_data: Path) -> None:
    request = Request(model=str(tiny_run), pairs=tiny_data / "pairs.csv", catalogue=tiny_data / "products.csv")
    prepared = prepare(request)
    rows, notes = judge(prepared, progress=lambda _: None)
    assert [row.name for row in rows] == ["random", "BM25", "BM25 tuned", "pretrained", str(tiny_run), "hybrid"]
    assert rows[3].judged != rows[4].judged  # with the adapters off, and on
    assert all(row.catalogue is not None and row.catalogue.judged_at_10 is not None for row in rows)
    assert any("of these queries validated the run and choose BM25's parameters" in note for note in notes)


def test_without_validation_words_have_defaults(tiny_model: Path, tmp_path: Path) -> None:
    rows, notes = judged(tiny_model, tmp_path, LAMP + HOSE, "1,crimson kettle\n2,navy sofa\n3,oak shelf\n")
    assert [row.name for row in rows] == ["random", "BM25", "BM25 tuned", str(tiny_model), "hybrid"]
    assert "no validation pairs: BM25 tuned has the defaults for short titles, and hybrid goes by ranks" in notes

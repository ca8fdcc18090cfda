"""Golden answers: what counts as the same answer, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trident.errors import GenerationError
from trident.generation.golden import GoldenAnswer, golden_differences, load_golden, save_golden
from trident.probe.golden_check import GoldenReport, fault_of

KETTLES = GoldenAnswer(query="kettle", product_ids=["1", "2", "3"], scores=[0.9, 0.8, 0.7])


def difference(found: GoldenAnswer, expected: GoldenAnswer = KETTLES) -> str:
    lines = golden_differences([expected], [found])
    return lines[0] if lines else ""


def test_saved_answers_are_loaded_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    save_golden([KETTLES, replace(KETTLES, query="Kaffeemühle")], path)
    assert load_golden(path) == [KETTLES, replace(KETTLES, query="Kaffeemühle")]


def test_equal_answers_and_scores_within_the_tolerance_are_right() -> None:
    assert difference(KETTLES) == ""
    assert difference(replace(KETTLES, scores=[0.9005, 0.7995, 0.7])) == ""


def test_an_order_by_words_is_held_to_what_decided_it() -> None:
    """Cosines need not fall; products whose fused scores are near may change places, others may not."""
    words = replace(KETTLES, scores=[0.4, 0.9, 0.6], fused=[2.9, 0.8, 0.799])
    assert difference(words, words) == ""
    swapped = replace(words, product_ids=["1", "3", "2"], scores=[0.4, 0.6, 0.9])
    assert difference(swapped, words) == ""
    assert difference(replace(words, product_ids=["1", "2", "9"], scores=[0.4, 0.9, 0.1]), words) == ""
    first = replace(words, product_ids=["2", "1", "3"], scores=[0.9, 0.4, 0.6])
    assert difference(first, words) == "'kettle': place 1 must be product 1, got 2"
    assert difference(replace(words, scores=[0.4, 0.88, 0.6]), words) == (
        "'kettle': product 2 must score 0.9000, got 0.8800"
    )


REREAD = replace(KETTLES, product_ids=["1", "2", "3", "4"], scores=[0.4, 0.9, 0.6, 0.5], mixed=[2.0, 1.0, 0.97, 0.5])


def test_an_order_of_a_second_stage_is_held_to_both_stages_scores() -> None:
    assert difference(REREAD, REREAD) == ""
    swapped = replace(REREAD, product_ids=["1", "3", "2", "4"], scores=[0.4, 0.6, 0.9, 0.5])
    assert difference(swapped, REREAD) == "'kettle': place 3 must be product 3, got 2"
    assert golden_differences([REREAD], [swapped], tolerance=0.02) == []  # in 8 bits
    last = replace(REREAD, product_ids=["1", "2", "4", "3"], scores=[0.4, 0.9, 0.5, 0.6])
    assert golden_differences([REREAD], [last], tolerance=0.02) == ["'kettle': place 4 must be product 4, got 3"]
    assert difference(replace(REREAD, scores=[0.4, 0.9, 0.61, 0.5]), REREAD) == (
        "'kettle': product 3 must score 0.6000, got 0.6100"
    )
    twice = replace(REREAD, product_ids=["1", "2", "2", "3"], scores=[0.4, 0.9, 0.9, 0.6])
    assert difference(twice, REREAD) == "'kettle': must find a product once, got 1, 2, 2, 3"


def test_the_candidates_of_a_second_stage_differ_by_a_few_in_8_bits_only() -> None:
    new = replace(REREAD, product_ids=["1", "9", "2", "3"], scores=[0.4, 0.7, 0.9, 0.6])
    assert difference(new, REREAD) == "'kettle': place 2 must be product 2, got 9"
    assert golden_differences([REREAD], [new], tolerance=0.02) == []
    others = replace(REREAD, product_ids=["7", "8", "9", "1"], scores=[0.4, 0.9, 0.6, 0.4])
    assert golden_differences([REREAD], [others], tolerance=0.02) == ["'kettle': place 3 must be product 3, got 9"]
    assert difference(replace(REREAD, product_ids=["1", "2", "3", "9"]), REREAD) == ""  # the eleventh was as near


def test_near_ties_may_change_places() -> None:
    tied = replace(KETTLES, scores=[0.9, 0.8, 0.7996])
    assert difference(replace(tied, product_ids=["1", "3", "2"]), tied) == ""
    assert difference(replace(tied, product_ids=["1", "2", "9"]), tied) == ""  # the eleventh was as near


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (replace(KETTLES, product_ids=["1", "2"], scores=[0.9, 0.8]), "'kettle': must find 3 products, got 2"),
        (replace(KETTLES, scores=[0.9, 0.79, 0.7]), "'kettle': place 2 must score 0.8000, got 0.7900"),
        (replace(KETTLES, scores=[float("nan"), 0.8, 0.7]), "'kettle': place 1 must score 0.9000, got nan"),
        (replace(KETTLES, product_ids=["2", "1", "3"]), "'kettle': place 1 must be product 1, got 2"),
        (replace(KETTLES, product_ids=["9", "2", "3"]), "'kettle': place 1 must be product 1, got 9"),
    ],
)
def test_other_answers_are_named(found: GoldenAnswer, message: str) -> None:
    assert difference(found) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "golden answers .* are missing or damaged"),
        ('[{"query": "x"}]', "golden answers .* are missing or damaged: .*product_ids"),
        (
            '[{"query": "x", "product_ids": ["1"], "scores": [0.5], "fused": [0.5, 0.4]}]',
            "golden answers .* are damaged: 'x' must have a score for each product, got 2 for 1; export again",
        ),
        (
            '[{"query": "x", "product_ids": ["1", "2"], "scores": [0.5]}]',
            "golden answers .* are damaged: 'x' must have a score for each product, got 1 for 2; export again",
        ),
        ("[]", "golden answers .* must hold at least one query, got none; export again"),
        (None, "golden answers .* are missing or damaged: .*No such file"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "golden.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(GenerationError, match=message):
        load_golden(path)


WRONG = GoldenReport(generation="a" * 16, asked=9, differences=("'x': 1", "'y': 2", "'z': 3", "'w': 4"))
FAULT = f"generation {'a' * 16} must answer its 9 golden queries as stored, got now: 'x': 1; 'y': 2; 'z': 3; and 1 more"


def test_wrong_answers_are_a_fault() -> None:
    assert fault_of(replace(WRONG, differences=()), when="now") is None
    assert fault_of(WRONG, when="now") == FAULT
    assert fault_of(replace(WRONG, others=True), when="now") == FAULT

"""Words that the catalogue lacks are corrected to its own; whatever has a digit, is short or is known stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.errors import GenerationError
from trident.lexical.analyzer import Analyzer, AnalyzerConfig, known_words
from trident.lexical.index import WORDS_OF_SMALL, LexicalConfig, LexicalIndex
from trident.lexical.spelling import KNOWN_WORDS_FILE, Spelling, load_known, save_known

TITLES = [
    "Apple iPhone 13 case black",
    "Apple iPhone 12 case",
    "Sony WH-1000XM4 headphones",
    "Kaffeemühle für Espresso",
    "Lenovo notebooks",
    "HP printer cable",
    "printers paper table",
    "xylophone",
]


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    return Spelling(LexicalIndex.build(TITLES, LexicalConfig()), frozenset({"tablett"}))


@pytest.mark.parametrize(
    ("typed", "corrected"),
    [
        ("iphnoe case", "iphone case"),
        ("Headfones, sony", "headphones, sony"),
        ("aple iphone", "apple iphone"),
        ("kafeemuhle", "kaffeemuhle"),
        ("xilofone", None),  # three letters away
        ("drinter", "printer"),
        ("drintar", None),  # two letters, one of them the first: another word
        ("lenvo (notebok)", "lenovo (notebooks)"),
        ("notebok", "notebooks"),
    ],
)
def test_an_unknown_word_becomes_one_of_the_catalogue(spelling: Spelling, typed: str, corrected: str | None) -> None:
    assert spelling.corrected(typed) == corrected


@pytest.mark.parametrize(
    "typed",
    [
        "iphone cases",  # another form of a word that is there
        "notebook",
        "wh1000xm5",
        "wh-1000xm5 4k",
        "hp",
        "hpp",  # too short to be sure of
        "tablett",  # training queries have it
        "sony",
        "«»",
        "",
        "ヘッドホン",
        "a" * 500,
    ],
)
def test_what_is_right_or_no_word_stays(spelling: Spelling, typed: str) -> None:
    assert spelling.corrected(typed) is None


def test_the_nearest_then_the_first_letter_then_the_most_frequent_wins() -> None:
    titles = ["bable"] * 3 + ["cable"] * 2 + ["table"] * 9
    index = LexicalIndex.build(titles, LexicalConfig())
    assert Spelling(index).corrected("cabel") == "cable"
    assert Spelling(index).corrected("zable") == "table"
    assert Spelling(index).corrected("bbable") == "bable"


def test_words_that_came_since_are_right_and_are_corrected_to(spelling: Spelling) -> None:
    assert spelling.corrected("zeppelin iphnoe", {"zeppelin": 1}) == "zeppelin iphone"
    assert spelling.corrected("zepelin", {"zeppelin": 1}) == "zeppelin"
    assert spelling.corrected("zepelin") is None


def test_a_word_of_one_title_is_no_correction_in_a_large_catalogue() -> None:
    titles = ["slipp here", *["cable slip"] * 2, *["x"] * WORDS_OF_SMALL]
    index = LexicalIndex.build(titles, LexicalConfig())
    assert index.words.all() == ["cable", "slip", "x"]


def test_words_of_two_training_queries_are_known(tmp_path: Path) -> None:
    analyzer = Analyzer(AnalyzerConfig())
    words = known_words(["Hadset sony", "hadset", "hadset", "headste"], analyzer)
    assert words == ["hadset"]
    save_known(words, tmp_path)
    assert load_known(tmp_path) == {"hadset"}
    (tmp_path / KNOWN_WORDS_FILE).unlink()
    with pytest.raises(GenerationError, match=r"known_words.txt is missing or damaged: .*; export again"):
        load_known(tmp_path)

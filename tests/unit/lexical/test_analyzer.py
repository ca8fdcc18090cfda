"""Texts to tokens: model numbers meet however they are typed, words are stemmed, and nothing is a command."""

from __future__ import annotations

import random
import re

import pytest

from trident.errors import ConfigError
from trident.lexical.analyzer import LONGEST, Analyzer, AnalyzerConfig, is_code

ENGLISH = Analyzer(AnalyzerConfig())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("WH-1000XM4", ["wh1000xm4", "wh", "1000xm4", "1000", "xm", "4"]),
        ("wh1000xm4", ["wh1000xm4", "wh", "1000", "xm", "4"]),
        ("wh 1000 xm4", ["wh", "1000", "xm4", "xm", "4"]),
        ("USB-C hubs", ["usbc", "usb", "c", "hub"]),
        ("usbc", ["usbc"]),
        ("C++ C# S20+", ["c++", "c", "c#", "c", "s20+", "s20", "s", "20"]),
        ('43.2 cm (17")', ["43.2", "cm", "17"]),
        ("43,2 cm", ["43.2", "cm"]),
        ("Men's running shoes", ["men", "run", "shoe"]),
        ("Kaffeemühle CAFÉ", ["kaffeemuhl", "cafe"]),
        ("Desktop/Laptop black-white", ["desktop", "laptop", "blackwhit", "black", "white"]),
        ("ヘッドホンsony", ["ヘッ", "ッド", "ドホ", "ホン", "soni"]),
        ("…-__- «» \u200b", []),
    ],
)
def test_a_text_has_these_tokens(text: str, tokens: list[str]) -> None:
    assert ENGLISH.tokens(text) == tokens


def test_a_language_decides_what_is_one_word() -> None:
    german, none = Analyzer(AnalyzerConfig(language="german")), Analyzer(AnalyzerConfig(language="none"))
    assert german.tokens("Häuser") == german.tokens("Haus") == ["haus"]
    assert none.tokens("Hauser Haus") == ["hauser", "haus"]
    assert Analyzer(AnalyzerConfig(language="french")).tokens("l'eau") == ["l", "eau"]
    assert german.tokens("dv7-1211er")[0] == "dv71211er"  # no stem of a model number


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("wh1000xm4", True),
        ("006r90321", True),
        ("2060476", True),
        ("64gb", False),
        ("1920x1080", False),
        ("1080p", False),
        ("100mbps", False),
        ("20476", False),
        ("usb3", False),
        ("notebook", False),
        ("x1" * LONGEST, False),
    ],
)
def test_a_model_number_is_no_amount_and_no_word(word: str, is_one: bool) -> None:
    assert is_code(word) is is_one


def test_a_model_number_may_be_typed_in_pieces() -> None:
    found = ENGLISH.codes("sony wh 1000 xm4 headphones")
    assert found["wh1000xm4"] is False
    assert next(iter(found)) == "sonywh1000xm4"
    assert {"wh1000", "1000xm4"} < set(found)
    assert ENGLISH.codes("Sony WH1000XM4") == {"sonywh1000xm4": False, "wh1000xm4": True}
    assert ENGLISH.codes("noise cancelling headphones") == {}
    assert "104020" not in ENGLISH.codes("laptop 1040 20")  # two numbers are no longer one


def test_words_of_letters_have_a_spelling() -> None:
    assert ENGLISH.words("Sony WH-1000XM4 Kopfhörer, 2x schwarz-weiß") == [
        "sony",
        "wh",
        "kopfhorer",
        "schwarz",
        "weiss",
    ]
    assert ENGLISH.words("ノイズ") == []


@pytest.mark.parametrize(
    ("typed", "code"), [("dell 593-10294 toner", "59310294"), ("(74-7358)", "747358"), ("5-100000", "5100000")]
)
def test_a_number_with_a_hyphen_is_one_model_number(typed: str, code: str) -> None:
    assert ENGLISH.codes(typed)[code]
    assert code in ENGLISH.tokens(typed)


@pytest.mark.parametrize("typed", ["2019-2020", "100-240", "12-34-5678", "a-593-10294", "593 10294", "18-55"])
def test_ranges_and_two_numbers_are_none(typed: str) -> None:
    assert not any(code.isdigit() for code in ENGLISH.codes(typed))


def test_what_people_type_is_text_and_nothing_else() -> None:
    """Five hundred queries of marks, words and half sentences: tokens are the words in them, and no mark counts."""
    draw = random.Random(7)
    marks = [
        '"',
        "'",
        "-",
        "--",
        "/",
        "\\",
        ":",
        "+",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "*",
        "?",
        "~",
        "^",
        "&&",
        "||",
        "!",
    ]
    words = [
        "apple",
        "AND",
        "OR",
        "NOT",
        "title",
        "128GB",
        "TO",
        "iphone",
        "_id",
        "null",
        "blue",
        "é",
        "\x00",
    ]
    for _ in range(500):
        pieces = [draw.choice(marks if draw.random() < 0.6 else words) for _ in range(draw.randrange(1, 30))]
        text = draw.choice(["", " "]).join(pieces)
        tokens = ENGLISH.tokens(text)
        assert all(token and not token.isspace() for token in tokens)
        for word in ("apple", "iphone", "blue"):
            alone = re.search(rf"(?<![\w'-]){word}(?![\w'-])", text)
            assert not alone or ENGLISH.stem(word) in tokens


def test_other_languages_and_versions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"lexical.language must be one of none, arabic.*, got 'klingon'"):
        AnalyzerConfig(language="klingon")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"the analyzer's version must be 1, got 2: export again"):
        AnalyzerConfig(version=2)

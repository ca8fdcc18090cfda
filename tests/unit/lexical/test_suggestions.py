"""Completions of a prefix, exact and with one typo, against a plain look at every text."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from trident.attributes.arrays import ArrayWriter
from trident.errors import GenerationError
from trident.lexical import suggestions as module
from trident.lexical.edits import WINDOW, one_edit_away
from trident.lexical.suggestions import (
    BLOCK,
    SUGGESTIONS_FILE,
    TYPO_FROM,
    Suggested,
    Suggestion,
    Suggestions,
    first_of,
    typed,
    write_suggestions,
)


def written(folder: Path, suggested: list[Suggested]) -> Suggestions:
    path = folder / SUGGESTIONS_FILE
    write_suggestions(path, suggested)
    return Suggestions(path)


def queries(*texts: str) -> list[Suggested]:
    return [Suggested(text, "query", 100 - place) for place, text in enumerate(texts)]


def texts(found: list[Suggestion]) -> list[str]:
    return [each.text for each in found]


def is_near(prefix: str, text: str, *, is_known: bool) -> bool:
    """Return whether a text begins with a prefix but for one typo behind the first letter that is about no digit.

    Nor is it about the last letter where something begins with the whole prefix.
    """
    for place in range(1, len(prefix)):
        if not text.startswith(prefix[:place]):
            return False
        here, after, rest = prefix[place], prefix[place + 1 :], text[place:]
        kept = here.isdigit() or (is_known and not after)
        if not kept and rest.startswith(after):
            return True
        if rest and not rest[0].isdigit():
            if rest[1:].startswith(prefix[place:]) or (not kept and rest[0] != here and rest[1:].startswith(after)):
                return True
            if not kept and after and after[0] != here and rest.startswith(after[0] + here + after[1:]):
                return True
    return False


@pytest.mark.parametrize("letters", ["ab1 ", "abcdefg", "äöß-e"])
def test_completions_are_those_of_a_look_at_every_text(tmp_path: Path, letters: str) -> None:
    draw = random.Random(len(letters))
    made = {"".join(draw.choices(letters, k=draw.randint(1, 9))).strip() for _ in range(3000)}
    made |= {prefix + "x" * 40 + tail for prefix in ("ab", "ac") for tail in ("q", "r")}
    known = [
        Suggested(text, draw.choice(("query", "phrase")), draw.randint(1, 50))
        for text in sorted(made)
        if text and typed(text) == text
    ]
    suggestions = written(tmp_path, known)
    ordered = [each.text for each in sorted(known, key=lambda each: (each.source != "query", -each.count, each.text))]
    assert len(suggestions) == len(known) > BLOCK
    assert texts(list(suggestions.all())) == ordered
    assert first_of(suggestions, 3) == ordered[:3]
    for _ in range(400):
        prefix = "".join(draw.choices(letters, k=draw.randint(0, 7))).lstrip()
        k = draw.choice((1, 10, 100))
        exact = [text for text in ordered if text.startswith(typed(prefix))]
        expected = exact[:k]
        if len(expected) < k and len(typed(prefix)) >= TYPO_FROM:
            expected += [
                text for text in ordered if text not in exact and is_near(typed(prefix), text, is_known=bool(exact))
            ]
        assert texts(suggestions.complete(prefix, k)) == expected[:k], prefix


def test_the_best_of_a_long_run_are_found_by_their_blocks(tmp_path: Path) -> None:
    draw = random.Random(0)
    known = [Suggested(f"a{number:05d}", "phrase", draw.randint(1, 10**6)) for number in range(20 * BLOCK)]
    suggestions = written(tmp_path, known)
    ordered = sorted(known, key=lambda each: (-each.count, each.text))
    for prefix in ("", "a", "a0", "a01", "a003"):
        expected = [each.text for each in ordered if each.text.startswith(prefix)][:10]
        assert texts(suggestions.complete(prefix)) == expected


def test_queries_come_before_phrases_and_one_text_comes_once(tmp_path: Path) -> None:
    suggestions = written(
        tmp_path,
        [
            Suggested("usb hub", "phrase", 900),
            Suggested("usb cable", "phrase", 1000),
            Suggested("usb hub", "query", 5),
            Suggested("usb hub", "query", 4),
            Suggested("usb c", "query", 7),
        ],
    )
    assert suggestions.complete("USB ") == [
        Suggestion("usb c", "query"),
        Suggestion("usb hub", "query"),
        Suggestion("usb cable", "phrase"),
    ]


def test_what_is_left_out_is_counted_as_neither(tmp_path: Path) -> None:
    long = Suggested("x" * 101, "query", 9)
    found = written(tmp_path, [long, *queries("lamp", "lamp", "sofa"), Suggested("red lamp", "phrase", 3)])
    assert (len(found), found.count_of("query"), found.count_of("phrase")) == (3, 2, 1)


def test_a_blank_at_the_end_says_that_a_word_is_complete(tmp_path: Path) -> None:
    suggestions = written(tmp_path, queries("usbc hub", "usb hub"))
    assert texts(suggestions.complete("usb")) == ["usbc hub", "usb hub"]
    assert texts(suggestions.complete("  Usb\t", 1)) == ["usb hub"]
    assert typed(" \n") == ""
    assert typed("\uff35SB  C ") == "usb c "


def test_a_typo_is_forgiven_but_not_in_numbers(tmp_path: Path) -> None:
    suggestions = written(
        tmp_path, queries("iphone 13 case", "iphone 14 case", "headphones", "organic olive oil spray")
    )
    assert texts(suggestions.complete("iphnoe 13")) == ["iphone 13 case"]
    assert suggestions.complete("iphone 15") == []
    assert suggestions.complete("iphone 31") == []
    assert suggestions.complete("ihp") == []  # too short
    assert texts(suggestions.complete("hedphones")) == ["headphones"]
    assert texts(suggestions.complete("headdphones")) == ["headphones"]
    assert texts(suggestions.complete("heatphones")) == ["headphones"]
    assert suggestions.complete("eadphones") == []  # the first letter stays
    assert suggestions.complete("hedphoness") == []  # two
    assert texts(suggestions.complete("organic olive oil srpay")) == ["organic olive oil spray"]


def test_long_texts_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    start = "a very long beginning of many a title, "
    suggestions = written(tmp_path, queries(*(f"{start}{word}" for word in ("red lamp", "red rake", "blue lamp"))))
    assert len(start) > module.KEY_BYTES
    assert texts(suggestions.complete(start)) == [f"{start}{word}" for word in ("red lamp", "red rake", "blue lamp")]
    assert texts(suggestions.complete(f"{start}red r")) == [f"{start}red rake"]
    assert suggestions.complete(f"{start}green") == []
    assert texts(suggestions.complete(f"{start}bleu ")) == [f"{start}blue lamp"]
    for typo in (start.replace("title", "tilte"), "a very long beginning of amny"):
        assert texts(suggestions.complete(typo)) == texts(suggestions.complete(start))


def test_edits_stay_within_the_window() -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    near = set(one_edit_away(text, "ab", len(text)))
    assert all(each.startswith(text[: len(text) - WINDOW + 1]) for each in near)
    assert list(one_edit_away("a", "ab", 1)) == []
    assert set(one_edit_away("ab1", "bc1", 1)) == {"a1", "ac1", "abb1", "acb1"}
    assert set(one_edit_away("ab", "bc", 2)) == {"abb", "acb"}


def test_what_nobody_should_see_is_left_out(tmp_path: Path) -> None:
    bad = ["", "x" * 101, "Case", "two  blanks", " front", "end ", "tab\tin", "bell\a", "right\u202eleft"]
    suggestions = written(tmp_path, queries(*bad, "good"))
    assert texts(list(suggestions.all())) == ["good"]


def test_without_any_there_are_none(tmp_path: Path) -> None:
    suggestions = written(tmp_path, [])
    assert len(suggestions) == 0
    for prefix in ("", "a", "abcdef", "x" * 200):
        assert suggestions.complete(prefix) == []


def test_equal_suggestions_give_equal_bytes(tmp_path: Path) -> None:
    known = [Suggested(f"text {number}", "phrase", number % 7) for number in range(500)]
    write_suggestions(tmp_path / "one", known)
    write_suggestions(tmp_path / "two", reversed(known))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SUGGESTIONS_FILE
    with pytest.raises(GenerationError, match=r"^suggestions .* are missing or damaged: .*; export again$"):
        Suggestions(path)
    write_suggestions(path, queries("a"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(GenerationError, match=r"^suggestions .* are missing or damaged: .*; export again$"):
        Suggestions(path)
    with ArrayWriter(path) as writer:
        writer.add("format", np.array([99]))
    with pytest.raises(GenerationError, match=r"^suggestions .* must have format 1, got \[99\]: export again$"):
        Suggestions(path)
    with ArrayWriter(path) as writer:
        writer.add("format", np.array([1]))
    with pytest.raises(GenerationError, match=r"^suggestions .* are damaged: they have no 'text'; export again$"):
        Suggestions(path)

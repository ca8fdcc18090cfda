"""The words of a live catalogue: as of an index made anew over what is there, with the statistics of the old one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from trident.lexical.index import CODE_ROWS, EXACT, LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.lexical.tail import LiveLexical, TailWords

CAME = [b"Sony ZZ-9001Q headphones red", None, b"Zeppelin lamp", b"Sony headphones", b"Zeppelin ZZ-9001Q"]


@pytest.fixture
def tail(lexical: LexicalIndex) -> TailWords:
    made = TailWords(lexical)
    made.add(CAME[:2])
    made.add(CAME[2:])
    return made


def live(tail: TailWords, gone: Sequence[int] = (), dead: Sequence[int] = (1,), end: int = 5) -> LiveLexical:
    is_gone, alive = np.zeros(tail.index.count, dtype=bool), np.ones(end, dtype=bool)
    is_gone[list(gone)] = True
    alive[[place for place in dead if place < end]] = False
    return LiveLexical(tail, is_gone, alive)


def found(words: LiveLexical, text: str, depth: int = 500) -> list[int]:
    return words.sums(words.query(text)).best(depth).tolist()


def test_what_came_is_found_by_old_and_new_words(tail: TailWords, lexical: LexicalIndex) -> None:
    count = lexical.count
    words = live(tail)
    assert found(words, "zeppelin") == [count + 2, count + 4]
    assert {count, count + 3} < set(found(words, "sony headphones"))
    assert set(found(words, "sony headphones")) - {count, count + 3} == set(
        lexical.search("sony headphones", 500)[0].tolist()
    )
    sums = words.sums(words.query("sony"))
    old = next(row for row in sums.touched[0].tolist() if row < count)
    assert sums.scores[old] == lexical.sums(lexical.query("sony")).scores[old]
    assert found(words, "sony headphones", 3) == found(words, "sony headphones")[:3]


def test_what_is_gone_is_not_found(tail: TailWords, lexical: LexicalIndex) -> None:
    rows = lexical.search("sony", 500)[0].tolist()
    words = live(tail, gone=rows[:-1], dead=(1, 3))
    assert set(found(words, "sony")) == {rows[-1], lexical.count}
    assert found(live(tail, gone=range(lexical.count), dead=range(5)), "sony headphones zeppelin") == []


def test_an_older_snapshot_does_not_see_what_came_after_it(tail: TailWords, lexical: LexicalIndex) -> None:
    assert found(live(tail, end=3), "zeppelin") == [lexical.count + 2]
    assert live(tail, end=3).codes("zz9001q") == {lexical.count: EXACT}


def test_model_numbers_of_what_came_stand_in_front(tail: TailWords, lexical: LexicalIndex, titles) -> None:
    assert live(tail).codes("buy zz 9001 q") == {lexical.count: EXACT, lexical.count + 4: EXACT}
    assert live(tail, dead=(0, 1)).codes("ZZ-9001Q") == {lexical.count + 4: EXACT}
    code = titles[7].split()[1]
    assert live(tail).codes(code) == {7: EXACT}
    assert live(tail, gone=[7]).codes(code) == {}


def test_model_numbers_are_worth_what_an_index_over_all_says() -> None:
    """Numbers that many share are a kind, longer ones count before their parts, and those of one title add up."""
    base = ["Sony WH-1000XM4 black", "Acme Q7-550 lamp", *(f"phone15 case {row}" for row in range(30)), "AB-99C7 case"]
    came = [
        *(f"phone15 cover {row}" for row in range(30)),
        *(f"tab900x cover {row}" for row in range(CODE_ROWS + 1)),
        "stand for 1000XM4",
        "Q7550 bulb and AB99C7 box",
        "AB99C7B box",
    ]
    index = LexicalIndex.build(base, LexicalConfig())
    tail = TailWords(index)
    tail.add([title.encode() for title in came])
    words, anew = live(tail, dead=(), end=len(came)), LexicalIndex.build(base + came, LexicalConfig())
    assert words.codes("phone15 case") == words.codes("tab900x") == {}
    assert words.codes("wh 1000xm4") == {0: EXACT}
    assert words.codes("Q7-550 or AB-99C7")[len(base) + len(came) - 2] == 2 * EXACT
    for query in ("phone15 case", "tab900x", "wh 1000xm4", "1000xm4", "Q7-550 or AB-99C7", "ab99c7", "q7 550"):
        assert words.codes(query) == anew.codes(query), query
    half = live(tail, gone=range(2, 12), dead=(), end=len(came))  # 50 are left
    assert len(half.codes("phone15")) == CODE_ROWS


def test_another_form_of_a_word_that_came_is_right(lexical: LexicalIndex) -> None:
    tail = TailWords(lexical)
    tail.add([b"Zeppelin tumbler"])
    spelling = Spelling(LexicalIndex.build(["rumblers red", "bumblers"], LexicalConfig()))
    assert spelling.corrected("tumblers", {"tumbler": 1}) is not None
    assert spelling.corrected("tumblers", tail.words, tail.forms) is None
    assert spelling.corrected("tumblerz", tail.words, tail.forms) is not None


def test_a_score_is_made_with_the_index_s_statistics(lexical: LexicalIndex, titles: Sequence[str]) -> None:
    """A title that the index has too scores there as here."""
    made = TailWords(lexical)
    made.add([title.encode() for title in titles[:50]])
    words = live(made, dead=(), end=50)
    for row in range(50):
        sums = words.sums(words.query(titles[row]))
        assert sums.scores[lexical.count + row] == pytest.approx(sums.scores[row], rel=1e-4)


def test_words_of_what_came_are_counted(tail: TailWords) -> None:
    assert (tail.words["zeppelin"], tail.words["sony"], tail.end) == (2, 2, 5)


def test_places_with_other_numbers_keep_their_words(tail: TailWords, lexical: LexicalIndex) -> None:
    before, count = live(tail), lexical.count
    kept = np.array([0, 2, 4, 6])  # 1 had no title, 3 is gone, 6 came later and was not looked at
    moved = tail.renumbered(kept)
    assert moved.end == 3
    moved.add([b"Zeppelin red"])
    words = live(moved, dead=(), end=4)
    assert sorted(found(words, "zeppelin")) == [count + 1, count + 2, count + 3]
    assert words.codes("zz9001q") == {count: EXACT, count + 2: EXACT}
    anew = TailWords(lexical)
    anew.add([*(CAME[place] for place in kept[:3]), b"Zeppelin red"])
    for text in ("sony headphones red", "zeppelin lamp", "zz-9001q"):
        again = live(anew, dead=(), end=4)
        np.testing.assert_array_equal(
            words.sums(words.query(text)).scores[count:], again.sums(again.query(text)).scores[count:]
        )
    assert found(before, "zeppelin") == [count + 2, count + 4]  # who still asks the older numbers


def test_titles_of_which_most_are_gone_are_told(lexical: LexicalIndex) -> None:
    made = TailWords(lexical)
    made.add([b"Zeppelin lamp"] * 1500)
    assert not made.renumbered(np.arange(750)).is_mostly_gone
    assert made.renumbered(np.arange(700)).is_mostly_gone
    assert found(live(made.renumbered(np.array([3, 1400])), dead=(), end=2), "zeppelin") == [
        lexical.count,
        lexical.count + 1,
    ]

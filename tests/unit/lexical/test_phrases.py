"""Phrases of a catalogue against counting every run of words."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from trident.lexical.phrases import COVERED, LONGEST, catalogue_phrases


def found(titles: list[str], min_titles: int = 2) -> dict[str, int]:
    phrases = list(catalogue_phrases(titles, min_titles=min_titles))
    assert all(each.source == "phrase" for each in phrases)
    assert len({each.text for each in phrases}) == len(phrases)
    return {each.text: each.count for each in phrases}


def by_counting(titles: list[str], min_titles: int) -> dict[str, int]:
    """Return what is found, by the definition, in titles of plain words that lead nowhere."""
    holding: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for number, title in enumerate(titles):
        for part in title.split(","):
            words = part.split()
            for length in range(1, LONGEST + 1):
                for start in range(len(words) - length + 1):
                    holding[tuple(words[start : start + length])].add(number)
    frequent = {run: len(those) for run, those in holding.items() if len(those) >= min_titles}
    longer = defaultdict(int)
    for run, count in frequent.items():
        for part in (run[1:], run[:-1]):
            longer[part] = max(longer[part], count)
    kept = {run: count for run, count in frequent.items() if longer[run] < COVERED * count}
    return {" ".join(run): count for run, count in kept.items() if len(run) > 1 or len(run[0]) >= 3}


@pytest.mark.parametrize("min_titles", [1, 2, 5])
def test_phrases_are_those_of_counting(min_titles: int) -> None:
    draw = random.Random(min_titles)
    words = ["lamp", "desk", "red", "oak", "xl", "rake", "sofa", "mat"]
    weights = [1 / (place + 1) for place in range(len(words))]
    titles = [
        ", ".join(" ".join(draw.choices(words, weights, k=draw.randint(1, 5))) for _ in range(draw.randint(1, 2)))
        for _ in range(300)
    ]
    assert found(titles, min_titles) == by_counting(titles, min_titles)


def test_a_phrase_that_a_longer_one_says_as_well_is_left_out() -> None:
    titles = [f"Hewlett Packard printer {number} black ink" for number in range(10)] + ["Packard Bell"] * 3
    assert found(titles) == {
        "hewlett packard printer": 10,
        "packard": 13,
        "packard bell": 3,
        "black ink": 10,
    }


def test_a_phrase_neither_ends_with_a_word_that_leads_on_nor_crosses_a_comma() -> None:
    titles = ["Case for iPhone, black (2 pack) - for the car", "case FOR iphone", "Cable for the car"]
    phrases = found(titles)
    assert phrases == {"case for iphone": 2}
    assert found(["the car, red"] * 2 + ["car"]) == {"car": 3, "red": 2}


def test_edges_are_stripped_and_marks_within_a_word_stay() -> None:
    titles = ["'USB-C' Hub.", "usb-c hub", "WH-1000XM4 3.5mm", "wh-1000xm4 3.5mm 12", "12 34", "12 34"]
    assert found(titles) == {"usb-c hub": 2, "wh-1000xm4 3.5mm": 2}


def test_without_titles_there_is_none() -> None:
    assert found([]) == {}
    assert found(["", "- , ."]) == {}
    assert found(["one lamp", "two rakes"]) == {}

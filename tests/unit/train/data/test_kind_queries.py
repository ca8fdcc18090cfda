"""Queries for kinds of products, made of titles: which phrases are kinds, and which titles are of a kind."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import pytest

from trident.data.pairs import Pairs
from trident.errors import ConfigError
from trident_train.data.kind_queries import kind_queries, kind_titles, read_words
from trident_train.data.sources import load_sources
from trident_train.recipe import DataRecipe

BRANDS = ("Acme", "Bolt", "Zürn", "Korf", "Lund", "Mire")
TITLES = [
    *(f"{brand} R{number}0 cordless drill {number}8 V" for brand in BRANDS for number in (1, 2)),
    *(f"{brand} Laptop Sleeve {number} cm" for brand in BRANDS for number in (33, 39)),
    *(f"{brand} T{number} notebook Black" for brand in BRANDS for number in (1, 2)),
    *(f"{brand} notebook case Red" for brand in BRANDS),
    *(f"{brand} paper with Lines, 500 sheets" for brand in BRANDS),
]


def made_of(titles: list[str], count: int = 400, *, seed: int = 0) -> Pairs:
    return kind_queries(titles, count, held_out=frozenset(), seed=seed)


@pytest.fixture(scope="module")
def grades() -> dict[str, dict[str, float]]:
    """Grade by query and title."""
    made = made_of(TITLES)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for query, title, grade, label in zip(
        made.queries, made.titles, made.grades.tolist(), made.labels.tolist(), strict=True
    ):
        assert label == (grade == 1)
        found[query][title] = grade
    assert sum(len(rows) for rows in found.values()) == len(made)
    return found


@pytest.mark.parametrize(
    ("title", "ends"),
    [
        ("CLEAR XR mobile phone case Black 15.5 cm", ["case", "black", "cm"]),
        ("Acme Laptop Sleeve", ["sleeve"]),
        ("SHE3600 headphones/headset (wired), blue", ["headphones", "headset", "wired", "blue"]),
        ("Chargeur 45W pour ordinateur", ["chargeur", "ordinateur"]),
    ],
)
def test_a_phrase_ends_before_anything_but_a_letter_and_where_capitals_begin(title: str, ends: list[str]) -> None:
    assert [word.text for word in read_words(title) if word.ends and word.text.isalpha()] == ends


def test_a_word_after_a_number_is_counted() -> None:
    words = {word.text: word.counted for word in read_words("Acme A4 paper 500 sheets (10 pcs) M110 mouse")}
    assert [text for text, counted in words.items() if counted] == ["sheets", "pcs"]


def test_kinds_end_phrases_and_what_only_begins_them_is_none(grades: dict[str, dict[str, float]]) -> None:
    assert {"drill", "cordless drill", "sleeve", "laptop sleeve", "notebook", "case"} <= set(grades)
    last_words = {query.split(" ")[-1] for query in grades}
    assert not {"laptop", "cordless", "with", "sheets", "cm"} & last_words
    assert [query for query in grades if query.endswith(" drill") and query.split(" ")[0].capitalize() in BRANDS]


def test_titles_of_a_kind_are_relevant_others_with_its_words_half(grades: dict[str, dict[str, float]]) -> None:
    of_kind = {title: grade for title, grade in grades["notebook"].items() if "notebook" in title}
    assert {grade for title, grade in of_kind.items() if "notebook Black" in title} == {1.0}
    assert [grade for title, grade in of_kind.items() if "notebook case" in title] == [0.5]
    for query, rows in grades.items():
        assert list(rows.values()).count(1.0) in (1, 2, 3), query
        assert list(rows.values()).count(0.5) <= 1, query
        assert list(rows.values()).count(0.0) in (1, 2, 3), query
        for title, grade in rows.items():
            assert (set(query.split(" ")) <= {word.text for word in read_words(title)}) == (grade > 0), (query, title)


def test_the_same_titles_are_known_to_be_of_a_kind() -> None:
    queries = ["notebook", "notebook", "red notebooks", "case"]
    titles = ["Acme notebook Black", "notebook case Red", "T1 Notebooks, red", "T1 Notebooks, red"]
    assert kind_titles(queries, titles) == [(0, 0), (0, 2), (2, 2), (3, 1)]
    assert kind_titles(["lampen"], ["Acme Lampe 40 W"], "german") == [(0, 0)]
    assert kind_titles(["saw"], titles) == kind_titles([], []) == []


def test_a_seed_gives_the_same_queries_whatever_the_order_of_titles() -> None:
    made, again = made_of(TITLES, 20, seed=1), made_of(TITLES[::-1] + TITLES[:5], 20, seed=1)
    assert (made.queries, made.titles, made.grades.tolist()) == (again.queries, again.titles, again.grades.tolist())
    assert made_of(TITLES, 20, seed=2).queries != made.queries


def test_held_out_queries_are_never_made(grades: dict[str, dict[str, float]]) -> None:
    held_out = frozenset(list(grades)[::2])
    made = kind_queries(TITLES, 400, held_out=held_out, seed=0)
    assert len(made)
    assert not held_out & set(made.queries)


def test_fewer_come_back_where_titles_give_no_more() -> None:
    assert len(made_of(TITLES[:4])) == len(made_of(["drill", "***", ""])) == len(made_of([])) == 0


def test_a_recipe_asks_for_them(tiny_data: Path) -> None:
    recipe = DataRecipe(
        pairs=str(tiny_data / "pairs.csv"),
        catalogue=tiny_data / "products.csv",
        title_queries=20,
        title_words="kinds",
        validation_share=0.2,
        test_share=0.3,
    )
    (source,) = load_sources(recipe)
    made = source.made["kinds"]
    assert source.catalogue is not None
    expected = kind_queries(
        source.catalogue.titles,
        20,
        held_out=frozenset(source.parts.test.queries + source.parts.validation.queries),
        seed=0,
    )
    assert (made.queries, made.titles) == (expected.queries, expected.titles)
    assert len(expected)
    (both,) = load_sources(dataclasses.replace(recipe, title_words=("drawn", "kinds")))
    assert list(both.made) == ["drawn", "kinds"]
    assert both.made["kinds"].queries == expected.queries
    assert set(both.made["drawn"].queries) != set(expected.queries)
    with pytest.raises(ConfigError, match=r"data\.title_words must name one way or more, got none"):
        dataclasses.replace(recipe, title_words=())

"""Queries made of titles: what is relevant for them, and what is never made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trident.errors import ConfigError
from trident_train.data.sources import load_sources
from trident_train.data.title_queries import COMMON, complete_titles, title_queries
from trident_train.recipe import DataRecipe, SourceRecipe, TitleWords

TITLES = [
    f"{brand} {colour} {thing} {size}"
    for brand in ("Acme", "Bolt", "Zürn")
    for colour in ("red", "blue", "green")
    for thing in ("cordless drill", "garden hose", "desk lamp")
    for size in ("small", "large")
]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w[\w-]+", text.casefold()))


@pytest.mark.parametrize(("kind", "count"), [("drawn", 60), ("common", 30)])
def test_relevant_titles_have_every_word_and_irrelevant_ones_do_not(kind: TitleWords, count: int) -> None:
    made = title_queries(TITLES, count, held_out=frozenset(), seed=0, kind=kind)
    assert len(set(made.queries)) == count
    for query, title, label in zip(made.queries, made.titles, made.labels.tolist(), strict=True):
        assert (words_of(query) <= words_of(title)) == bool(label)
    for query in set(made.queries):
        labels = [label for found, label in zip(made.queries, made.labels.tolist(), strict=True) if found == query]
        assert 1 <= sum(labels) <= 3
        assert 1 <= labels.count(0) <= 4
        rows = [row for row, found in enumerate(made.queries) if found == query]
        assert len({made.titles[row] for row in rows}) == len(rows)


def test_irrelevant_titles_share_words_with_the_query() -> None:
    made = title_queries(TITLES, 60, held_out=frozenset(), seed=0)
    longer = [row for row, query in enumerate(made.queries) if made.labels[row] == 0 and len(query.split()) > 1]
    sharing = [row for row in longer if words_of(made.queries[row]) & words_of(made.titles[row])]
    assert len(sharing) / len(longer) > 0.75


def test_a_seed_gives_the_same_queries_whatever_the_order_of_titles() -> None:
    made = title_queries(TITLES, 30, held_out=frozenset(), seed=1)
    again = title_queries(TITLES[::-1] + TITLES[:5], 30, held_out=frozenset(), seed=1)
    assert (made.queries, made.titles, made.labels.tolist()) == (again.queries, again.titles, again.labels.tolist())
    assert title_queries(TITLES, 30, held_out=frozenset(), seed=2).queries != made.queries


def test_held_out_queries_are_never_made() -> None:
    queries = title_queries(TITLES, 1000, held_out=frozenset(), seed=0).queries
    held_out = frozenset(list(dict.fromkeys(queries))[::2])
    made = title_queries(TITLES, 1000, held_out=held_out, seed=0)
    assert len(made)
    assert not held_out & set(made.queries)


def test_fewer_come_back_where_titles_give_no_more() -> None:
    assert len(set(title_queries(["red drill", "blue hose"], 100, held_out=frozenset(), seed=0).queries)) == 4
    assert len(title_queries(["drill", "***", ""], 100, held_out=frozenset(), seed=0)) == 0
    assert len(title_queries([], 100, held_out=frozenset(), seed=0)) == 0


def test_they_come_from_the_train_split_or_the_catalogue_and_are_not_judged(tiny_data: Path) -> None:
    pairs, catalogue = str(tiny_data / "pairs.csv"), tiny_data / "products.csv"
    judged = SourceRecipe(pairs=pairs, title_queries=40)
    whole = SourceRecipe(pairs=pairs, catalogue=catalogue, title_queries=40)
    sources = {"judged": judged, "whole": whole, "none": SourceRecipe(pairs=pairs)}
    recipe = DataRecipe(sources=sources, validation_share=0.2, test_share=0.3)
    plain = DataRecipe(pairs=pairs, validation_share=0.2, test_share=0.3)
    (alone,) = load_sources(plain)
    for source in load_sources(recipe):
        assert source.parts.test.queries == alone.parts.test.queries
        assert source.parts.train.queries == alone.parts.train.queries
        if source.name == "none":
            assert source.made == {}
            continue
        (made,) = source.made.values()
        known = source.parts.train.titles if source.catalogue is None else source.catalogue.titles
        assert set(made.titles) <= set(known)
        assert not set(made.queries) & set(source.parts.test.queries)


def test_common_words_stand_next_to_each_other_in_several_titles() -> None:
    queries = dict.fromkeys(title_queries(TITLES, 1000, held_out=frozenset(), seed=0, kind="common").queries)
    for query in queries:
        assert sum(f" {query} " in f" {title.casefold()} " for title in TITLES) >= COMMON
    assert {"drill", "cordless drill", "garden hose", "acme", "acme red"} <= set(queries)
    assert not [query for query in queries if query.startswith(("drill garden", "small acme"))]
    assert len(title_queries(TITLES[:4], 10, held_out=frozenset(), seed=0, kind="common")) == 0


def test_made_queries_know_every_title_with_all_their_words() -> None:
    queries = ["red drill", "red drill", "lamp"]
    titles = ["Acme red drill", "blue hose", "Desk lamp, red", "Drill bit, RED", "lampshade"]
    assert complete_titles(queries, titles) == [(0, 0), (0, 3), (2, 2)]
    assert complete_titles(["saw"], titles) == complete_titles([], []) == []


def test_other_forms_of_a_word_count_as_the_word() -> None:
    titles = [f"{brand} Garden Hoses {size}" for brand in ("Acme", "Bolt") for size in ("small", "large", "long")]
    titles += [f"{title.replace('Hoses', 'Hose')} new" for title in titles] + ["Desk lamp", "Wall lamp"]
    made = title_queries(titles, 100, held_out=frozenset(), seed=0, kind="common")
    rows = [row for row, query in enumerate(made.queries) if query == "garden hoses"]
    assert {made.labels[row] for row in rows if "Hose" in made.titles[row]} == {1}
    assert complete_titles(["garden hoses"], ["Garden hose", "Gartenschlauch"]) == [(0, 0)]
    assert complete_titles(["lampen"], ["Lampe"], "german") == [(0, 0)]
    assert complete_titles(["lampen"], ["Lampe"], "english") == []
    with pytest.raises(ConfigError, match=r"data\.title_language must be one of arabic, .*, got 'klingon'"):
        SourceRecipe(title_language="klingon")


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.title_queries must be >= 0, got -1"):
        SourceRecipe(title_queries=-1)

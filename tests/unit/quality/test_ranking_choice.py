"""What validation queries choose: parameters, a weight, legs for spelling, a bound of weakness, and when nothing is."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.lexical.analyzer import Analyzer, AnalyzerConfig
from trident.lexical.index import LexicalConfig, LexicalIndex, tokenize
from trident.quality.ranking_choice import (
    FEWEST,
    GRID,
    WEIGHTS,
    AskedLegs,
    Judgements,
    choose_bm25,
    choose_spelling,
    choose_weak,
    choose_weight,
    mean,
)
from trident.ranking.legs import Nearest, RankedQuery

QUERIES, PER_QUERY, DIMENSION = 40, 5, 16


def made_catalogue(*, hidden: bool) -> tuple[Catalogue, Pairs]:
    """Return products of many kinds; where ``hidden``, queries share no word with their products."""
    draw = random.Random(2)
    ids, titles, queries, products = [], [], [], []
    for number in range(QUERIES):
        for copy in range(PER_QUERY):
            ids.append(f"p{number}-{copy}")
            filler = " ".join(draw.choice(("red", "blue", "new", "large", "box")) for _ in range(draw.randrange(1, 6)))
            titles.append(f"kind{'abcdefghij'[number % 10]}{'xyzw'[number // 10]} {filler}")
            queries.append(f"zz{number}" if hidden else titles[-1].split()[0])
            products.append(ids[-1])
    labels = np.ones(len(ids), dtype=np.int8)
    pairs = Pairs(queries, titles, labels, labels.astype(np.float32), products)
    return Catalogue(ids, titles, pa.table({})), pairs


class PlainLegs:
    """Vectors that are compared with every product, and an index."""

    def __init__(self, products: np.ndarray, lexical: LexicalIndex) -> None:
        self.products, self.sums = products, lexical.sums

    def nearest(self, query: RankedQuery, k: int) -> Nearest:
        cosines = self.products @ query.vector[0]
        rows = np.argsort(-cosines, kind="stable")[:k]
        return Nearest(rows, cosines[rows], "all")

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        return self.products[rows]


def asked_legs(*, hidden: bool, blind: bool) -> tuple[AskedLegs, Judgements]:
    """Return legs whose vectors know the products of a query, or, where ``blind``, nothing."""
    catalogue, pairs = made_catalogue(hidden=hidden)
    judged = Judgements.of(pairs, catalogue)
    draw = np.random.default_rng(1)
    kinds = draw.standard_normal((QUERIES, DIMENSION)).astype(np.float32)
    own = draw.standard_normal((len(catalogue), DIMENSION)) if blind else np.repeat(kinds, PER_QUERY, axis=0)
    products = (own / np.linalg.norm(own, axis=1, keepdims=True)).astype(np.float32)
    queries = kinds / np.linalg.norm(kinds, axis=1, keepdims=True)
    lexical = LexicalIndex.build(catalogue.titles, LexicalConfig())
    return AskedLegs.ask(judged.queries, queries, lexical, PlainLegs(products, lexical), 50), judged


def test_words_get_a_weight_where_they_find_more() -> None:
    asked, judged = asked_legs(hidden=False, blind=True)
    choice = choose_weight(asked, judged)
    assert choice.weight is not None
    assert choice.weight > 0
    assert choice.seen["queries"] == QUERIES
    assert choice.seen["gain"]["low"] > 0
    assert mean(judged.ndcg(asked.order(choice.weight))) == max(
        mean(judged.ndcg(asked.order(weight))) for weight in WEIGHTS[1:]
    )


def test_words_have_none_where_they_find_nothing() -> None:
    asked, judged = asked_legs(hidden=True, blind=False)
    choice = choose_weight(asked, judged)
    assert choice.weight == 0.0
    assert choice.seen["gain"]["low"] <= 0
    plain = asked.order(0.0)
    assert mean(judged.ndcg(plain)) == pytest.approx(1.0)
    assert all(rows[:PER_QUERY].max() < 5 * QUERIES for rows in plain.values())


def test_too_few_queries_choose_nothing_and_none_choose_ranks() -> None:
    asked, judged = asked_legs(hidden=False, blind=True)
    few = Judgements.of(judged.pairs.take(range(PER_QUERY * (FEWEST - 1))), judged.catalogue)
    part = AskedLegs(*(each[: FEWEST - 1] for each in (asked.queries, asked.candidates, asked.words)))
    assert choose_weight(part, few).weight == 0.0
    nobody = Judgements.of(judged.pairs.take([]), judged.catalogue)
    choice = choose_weight(AskedLegs([], [], []), nobody)
    assert (choice.weight, choice.seen) == (None, {"queries": 0})
    config = LexicalConfig()
    tokenized = tokenize(judged.catalogue.titles, {}, Analyzer(AnalyzerConfig()))
    assert choose_bm25(tokenized, config, few) == (config, {"queries": FEWEST - 1, "tuned": False})


def test_products_that_the_catalogue_lacks_judge_nothing() -> None:
    catalogue, pairs = made_catalogue(hidden=False)
    pairs.product_ids[0:PER_QUERY] = [f"q{row}" for row in range(PER_QUERY)]
    judged = Judgements.of(pairs, catalogue)
    assert len(judged.queries) == QUERIES - 1
    assert len(judged.pairs) == PER_QUERY * (QUERIES - 1)


def test_parameters_are_tuned_where_others_rank_better_beyond_chance() -> None:
    """Long titles of the right kind stand against short ones that only name it: with b = 0.6 the short ones win."""
    ids, titles, queries, products = [], [], [], []
    for number in range(30):
        for copy in range(6):
            right = copy == 0
            ids.append(f"p{number}-{copy}")
            word = f"w{'abcdefghij'[number % 10]}{'xyz'[number // 10]}"
            titles.append(f"{word} {word} " + word + " filler" * 30 if right else f"{word} x{copy}")
            queries.append(word)
            products.append(ids[-1])
    labels = np.array([int(each.endswith("-0")) for each in ids], dtype=np.int8)
    catalogue = Catalogue(ids, titles, pa.table({}))
    judged = Judgements.of(Pairs(queries, titles, labels, labels.astype(np.float32), products), catalogue)
    tokenized = tokenize(titles, {"more": [""] * len(titles)}, Analyzer(AnalyzerConfig()))
    config, seen = choose_bm25(tokenized, LexicalConfig(fields={"more": 1}), judged)
    assert seen["tuned"]
    assert config.bm25 in GRID
    assert config.bm25.b < 0.6
    assert seen["best"] > seen["default"]
    assert seen["gain"]["low"] > 0


@pytest.mark.parametrize(("bad", "expected"), [(20, True), (4, False)])
def test_an_answer_is_weak_below_what_keeps_the_promise(bad: int, expected: bool) -> None:
    cosines = np.linspace(0.1, 0.9, 100).astype(np.float32)
    is_good = np.arange(100) >= bad
    bound, seen = choose_weak(cosines, is_good)
    assert (bound is not None) == expected
    if bound is not None:
        below = cosines < bound
        assert is_good[below].mean() < 0.2
        assert is_good[cosines < bound + 0.05].mean() >= 0.2
        assert seen["weak"] == below.sum()
    assert choose_weak(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool))[0] is None
    assert choose_weak(cosines, np.arange(100) >= 96)[0] is None  # labels of another catalogue
    assert choose_weak(np.full(50, 0.3, dtype=np.float32), np.zeros(50, dtype=bool))[0] is None  # nothing parts them


def test_spelling_is_for_the_legs_that_it_helps() -> None:
    plain = {f"q{row}": 0.2 for row in range(20)}
    better, worse = (dict.fromkeys(plain, value) for value in (0.5, 0.1))
    both, words = ("dense", "lexical"), ("lexical",)
    assert choose_spelling(plain, {words: lambda: better, both: lambda: worse}, 20)[0] == words
    legs, seen = choose_spelling(plain, {words: lambda: better, both: lambda: better}, 20)
    assert (legs, seen["gain"]["value"]) == (both, pytest.approx(0.3))
    assert choose_spelling(plain, {words: lambda: worse, both: lambda: worse}, 20)[0] == ()
    assert choose_spelling({}, {words: dict, both: dict}, FEWEST - 1) == (both, {"queries": FEWEST - 1})

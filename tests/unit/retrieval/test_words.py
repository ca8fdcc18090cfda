"""Vectors and words together, served: as a plain reference, alone and in a batch, under filters and over pages."""

from __future__ import annotations

import json
import random
from typing import Any

import bm25s
import numpy as np
import pyarrow as pa
import pytest
from worded import (
    BRANDS,
    COUNT,
    DEPTH,
    DRAW,
    IDENTITY,
    QUERIES,
    SETTINGS,
    TITLES,
    VECTORS,
    ask,
    built,
    details,
    ids,
    knobs,
    some,
    told,
)

from trident.data.catalogue import Catalogue
from trident.errors import DataError, GenerationError
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.ranking.legs import DEEPEST
from trident.retrieval.retriever import Retriever
from trident.retrieval.words import Words


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return built(tmp_path_factory.mktemp("version"))


def made_texts(count: int) -> list[str]:
    texts = []
    for _ in range(count):
        words = DRAW.choice(TITLES).split()
        texts.append(" ".join(words[: DRAW.randrange(1, len(words) + 1)]))
    return texts


class Reference:
    """Both legs and the formula in plain Python: bm25s called directly, every cosine."""

    def __init__(self, retriever: Retriever) -> None:
        assert retriever.words is not None
        self.lexical = retriever.words.lexical
        self.bm25 = bm25s.BM25(k1=0.3, b=0.6, method="lucene", backend="numpy")
        self.bm25.index([self.lexical.analyzer.tokens(title) for title in TITLES], show_progress=False)

    def answer(
        self, text: str, vector: np.ndarray, k: int, weight: float, permitted: set[int] | None = None
    ) -> list[int]:
        tokens = [each for each in dict.fromkeys(self.lexical.analyzer.tokens(text)) if each in self.bm25.vocab_dict]
        words = self.bm25.get_scores(tokens) if tokens else np.zeros(COUNT)
        cosines = VECTORS @ vector
        allowed = [row for row in range(COUNT) if permitted is None or row in permitted]
        dense = sorted(allowed, key=lambda row: (-cosines[row], row))[:DEPTH]
        lexical = sorted((row for row in allowed if words[row] > 0), key=lambda row: (-words[row], row))[:DEPTH]
        codes = {row: worth for row, worth in self.lexical.codes(text).items() if row in set(allowed)}
        union = sorted({*dense, *lexical, *codes})
        best = max(words[row] for row in union) or 1.0
        value = {
            row: (1 - weight) * max(cosines[row], 0) + weight * words[row] / best + codes.get(row, 0) for row in union
        }
        return sorted(union, key=lambda row: (-value[row], -cosines[row], row))[:k]


@pytest.fixture(scope="module")
def reference(retriever: Retriever) -> Reference:
    return Reference(retriever)


def test_answers_are_those_of_a_plain_reference(retriever: Retriever, reference: Reference) -> None:
    for number, text in enumerate(made_texts(some(retriever, 60))):
        hits = ask(retriever, text, number)
        expected = reference.answer(text, QUERIES[number], 10, 0.4)
        assert ids(hits) == [f"p{row}" for row in expected]
        np.testing.assert_allclose(hits.scores[0], VECTORS[expected] @ QUERIES[number], atol=1e-4)


def test_a_batch_is_answered_as_each_alone(retriever: Retriever) -> None:
    texts = made_texts(24)
    options = [
        {},
        {"mode": "dense"},
        {"mode": "lexical"},
        {"explain": True},
        {"filter": {"brand": "HP"}},
        {"offset": 7},
    ]
    asked = [knobs(retriever, text, k=3 + row % 9, **options[row % 6]) for row, text in enumerate(texts)]
    together = retriever.retrieve(QUERIES[:24], asked)
    for row, knob in enumerate(asked):
        alone = retriever.retrieve(QUERIES[row : row + 1], [knob])
        assert ids(together, row) == ids(alone)
        assert together.details[row, 0] == alone.details[0, 0]
        np.testing.assert_allclose(
            together.scores[row][: len(ids(alone))], alone.scores[0][: len(ids(alone))], atol=1e-6
        )


@pytest.mark.parametrize("share", [1, 3, 10, 39])
def test_a_filter_reaches_both_legs(retriever: Retriever, reference: Reference, share: int) -> None:
    permitted = {row for row in range(COUNT) if row % 40 < share}
    for number, text in enumerate(made_texts(some(retriever, 8))):
        hits = ask(retriever, text, number, filter={"price": {"lt": share}})
        assert ids(hits) == [f"p{row}" for row in reference.answer(text, QUERIES[number], 10, 0.4, permitted)]
    lexical = ask(retriever, "sony headphones", mode="lexical", filter={"price": {"lt": share}, "brand": "Sony"}, k=50)
    found = [int(each[1:]) for each in ids(lexical)]
    assert found
    assert all(row in permitted and BRANDS[row] == "Sony" for row in found)


def test_pages_are_cut_out_of_one_order(retriever: Retriever) -> None:
    everything = ids(ask(retriever, "sony headphones", k=60))
    pages = [each for offset in range(0, 60, 7) for each in ids(ask(retriever, "sony headphones", k=7, offset=offset))]
    assert pages[:60] == everything
    assert "depth" not in details(ask(retriever, "sony headphones", k=10, offset=20))
    deep = ask(retriever, "sony headphones", k=10, offset=200)
    assert details(deep) == {"depth": DEEPEST}
    whole = ids(ask(retriever, "sony headphones", k=210))
    assert (whole[:60], whole[200:210]) == (everything, ids(deep))
    assert len(set(whole)) == 210
    assert ids(ask(retriever, "sony headphones", k=5, facets=["brand"])) == everything[:5]
    assert ids(ask(retriever, "sony headphones", k=5, group="brand"))[0] == everything[0]


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0, None])
def test_a_model_number_is_first_whatever_the_weight(retriever: Retriever, weight: float | None) -> None:
    told_so = told(retriever, weight=weight)
    for row in range(0, COUNT, 300):
        code = TITLES[row].split()[-1]
        for text in (code, code.lower().replace("-", ""), f"buy {code.replace('-', ' ')}"):
            for mode in ({}, {"mode": "hybrid"}, {"mode": "lexical"}):
                assert ids(ask(told_so, text, **mode))[0] == f"p{row}"
            assert ids(ask(told_so, text, filter={"brand": BRANDS[row]}))[0] == f"p{row}"
            assert f"p{row}" not in ids(ask(told_so, text, filter={"brand": {"not": BRANDS[row]}}))
    dense = ids(ask(told_so, TITLES[0].split()[-1], mode="dense"))
    assert dense == [f"p{row}" for row in np.argsort(-(VECTORS @ QUERIES[0]), kind="stable")[:10]]


def test_weight_nothing_answers_as_vectors_do(retriever: Retriever) -> None:
    off = told(retriever, weight=0.0)
    for number, text in enumerate(["sony headphones", "printer", "no word of it"]):
        hits = ask(off, text, number)
        assert ids(hits) == ids(ask(off, text, number, mode="dense"))
        assert details(hits) == {}
        explained = details(ask(off, text, number, explain=True))["explain"]
        assert [part["dense_rank"] for part in explained] == list(range(1, 11))
        assert {part["bm25"] for part in explained} == {None}


def test_words_alone_find_what_has_a_word(retriever: Retriever) -> None:
    hits = ask(retriever, "grinder", mode="lexical", k=1000)
    assert hits.ways == ("lexical",)
    assert {int(each[1:]) for each in ids(hits)} == {row for row in range(COUNT) if "grinder" in TITLES[row]}
    assert ids(ask(retriever, "nothing of that", mode="lexical")) == []
    rows = [int(each[1:]) for each in ids(hits)]
    np.testing.assert_allclose(hits.scores[0, : len(rows)], VECTORS[rows] @ QUERIES[0], atol=1e-5)


def test_scores_are_cosines_and_min_score_means_them(retriever: Retriever) -> None:
    everything = ask(retriever, "sony headphones", k=50)
    border = float(np.sort(everything.scores[0])[20])
    kept = ask(retriever, "sony headphones", k=20, min_score=border)
    assert kept.scores[0, : kept.counts[0, 0]].min() >= border
    expected = [each for each, score in zip(ids(everything), everything.scores[0], strict=True) if score >= border]
    assert ids(kept)[: len(expected)] == expected[:20]
    assert ids(ask(retriever, "sony headphones", min_score=1.0)) == []


def test_an_explanation_names_the_parts_of_each_place(retriever: Retriever) -> None:
    hits = ask(retriever, "sony headphones", explain=True, fields=["brand"])
    said = details(hits)
    assert len(said["attributes"]) == len(said["explain"]) == 10
    fused = [part["fused"] for part in said["explain"]]
    assert fused == sorted(fused, reverse=True)
    np.testing.assert_allclose([part["cosine"] for part in said["explain"]], hits.scores[0], atol=1e-5)
    assert any(part["dense_rank"] is None for part in said["explain"])
    assert all(part["bm25"] > 0 for part in said["explain"])
    assert ids(hits) == ids(ask(retriever, "sony headphones"))


def test_a_corrected_query_says_so_and_may_be_left_alone(retriever: Retriever) -> None:
    hits = ask(retriever, "sonny haedphones")
    assert details(hits) == {"corrected": "sony headphones"}
    assert ids(hits) == ids(ask(retriever, "sony headphones"))
    typed = ask(retriever, "sonny haedphones", spelling=False)
    assert details(typed) == {}
    assert ids(typed) == ids(ask(retriever, "xyz", mode="dense"))
    assert retriever.text_for_vectors(knobs(retriever, "haedphones")) == "headphones"
    only_words = told(retriever, spelling=("lexical",))
    assert only_words.text_for_vectors(knobs(only_words, "haedphones")) == "haedphones"
    assert ids(ask(only_words, "haedphones", mode="lexical")) == ids(ask(only_words, "headphones", mode="lexical"))
    assert details(ask(told(retriever, spelling=()), "haedphones")) == {}


@pytest.mark.parametrize(
    ("legs", "weight", "mode", "corrects"),
    [
        (("lexical",), 0.4, "dense", False),
        (("lexical",), 0.0, "hybrid", False),
        (("lexical",), 0.0, "lexical", True),
        (("lexical",), None, "hybrid", True),
        (("dense",), 0.4, "lexical", False),
        (("dense",), 0.0, "hybrid", True),
        (("dense", "lexical"), 0.4, "dense", True),
    ],
)
def test_nothing_is_corrected_that_nobody_searches_by(
    retriever: Retriever, legs: Any, weight: float | None, mode: str, corrects: bool
) -> None:
    only = told(retriever, spelling=legs, weight=weight)
    assert knobs(only, "haedphones", mode=mode).corrected == ("headphones" if corrects else None)
    assert details(ask(only, "haedphones", mode=mode)) == ({"corrected": "headphones"} if corrects else {})


def test_a_weak_answer_says_so(retriever: Retriever) -> None:
    best = float(ask(retriever, "sony headphones").scores.max())
    strict = told(retriever, weak_below=best + 0.001)
    hits = strict.retrieve(QUERIES[:2], [knobs(strict, "sony headphones"), knobs(strict, "sony", mode="dense")])
    assert (0 in hits.weak, details(hits).get("weak")) == (True, True)
    assert hits.rows(0, 1, 5).weak == {0}
    assert hits.rows(1, 2, 5).weak == {row - 1 for row in hits.weak if row == 1}
    assert details(ask(told(retriever, weak_below=best - 0.001), "sony headphones")) == {}
    for more in ({"offset": 10}, {"sort": "price"}):
        assert "weak" not in details(ask(strict, "sony headphones", **more))
    browsed = strict.retrieve(QUERIES[:1], [knobs(strict, "", filter={"brand": "HP"})])
    assert "weak" not in details(browsed)


def test_ranks_where_there_are_no_labels(retriever: Retriever) -> None:
    by_rank = told(retriever, weight=None)
    parts = details(ask(by_rank, "sony headphones", explain=True))["explain"]
    for part in parts:
        expected = sum(1 / (60 + part[name]) for name in ("dense_rank", "lexical_rank") if part[name])
        assert part["fused"] == pytest.approx(expected, abs=1e-5)


def test_what_people_type_harms_nothing(retriever: Retriever) -> None:
    """Five hundred queries of marks and halves of words: each is answered, and nothing is read as a command."""
    draw = random.Random(9)
    pieces = [
        '"',
        "-",
        "--",
        "/",
        ":",
        "+",
        "(",
        ")",
        "[",
        "*",
        "~",
        "AND",
        "NOT",
        "brand:HP",
        "\\",
        "\x00",
        "é",
        "\u202e",
    ]
    pieces += ["sony", "headphones", "KX-2001T1", "2001", "' OR 1=1", "{}", "%", "ヘッド", "\U0001f600", "a" * 300]
    plain = set(ids(ask(retriever, "sony headphones", k=1000, mode="lexical")))
    for _ in range(some(retriever, 500)):
        text = draw.choice(["", " "]).join(draw.choice(pieces) for _ in range(draw.randrange(1, 20)))
        if not text.strip():
            continue
        hits = ask(retriever, text, k=5)
        assert hits.counts[0, 0] == 5
        json.loads(hits.details[0, 0])
    for marks in (
        "sony -headphones",
        '"sony" +headphones',
        "(sony) NOTHING headphones*",
        "sony:headphones",
        "sony/headphones",
    ):
        assert set(ids(ask(retriever, marks, k=1000, mode="lexical", spelling=False))) == plain


def test_words_are_refused_where_there_are_none(retriever: Retriever, local: Retriever) -> None:
    bare = Retriever(local.index, Catalogue([f"p{row}" for row in range(COUNT)], TITLES, pa.table({})), IDENTITY)
    for options, line in (
        (
            {"mode": "hybrid"},
            r"'mode' hybrid is not answered by generation 0123.*, which has no words: ask for 'dense'",
        ),
        ({"mode": "lexical"}, "'mode' lexical is not answered by generation"),
        ({"explain": True}, "'explain' is not answered by generation .*: leave the key out"),
    ):
        with pytest.raises(DataError, match=line):
            knobs(bare, "sony", **options)
    assert ids(bare.retrieve(QUERIES[:1], [knobs(bare, "sony", mode="dense")])) == ids(
        bare.retrieve(QUERIES[:1], [knobs(bare, "sony")])
    )
    with pytest.raises(DataError, match="'mode' hybrid is answered by the variant cpu alone: this one searches embed"):
        retriever.check(QUERIES[:1], [knobs(retriever, "sony", mode="hybrid")])
    retriever.check(QUERIES[:1], [knobs(retriever, "sony", mode="dense", spelling=False)])


def test_words_of_other_products_are_refused(retriever: Retriever) -> None:
    lexical = LexicalIndex.build(TITLES[:-1], LexicalConfig())
    with pytest.raises(GenerationError, match=r"must have the same number of products, got 1,499 and 1,500: export"):
        retriever.with_words(Words(lexical, Spelling(lexical), SETTINGS))

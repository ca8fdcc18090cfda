"""Vectors and words together, served: as a plain reference, alone and in a batch, under filters and over pages."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.filters import parse_filter
from trident.attributes.inference import infer
from trident.data.catalogue import Catalogue
from trident.errors import DataError, GenerationError
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.ranking.legs import DEEPEST
from trident.ranking.settings import RankingSettings
from trident.retrieval.options import Page
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_asked, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.ruled import BOOST_DEPTH
from trident.retrieval.words import Words
from trident.rules.effects import Boost, Effect, NamedProducts

COUNT, DIMENSION, DEPTH = 1500, 8, 40
ENCODER = "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
DRAW = random.Random(4)
KINDS = ("headphones", "notebook", "usb-c hub", "coffee grinder", "printer", "keyboard")
BRANDS = [DRAW.choice(("HP", "Dell", "Sony", "Zeiss")) for _ in range(COUNT)]
TITLES = [f"{BRANDS[row]} {DRAW.choice(KINDS)} {DRAW.choice('KLM')}X-{2000 + row}T{row % 9}" for row in range(COUNT)]
SETTINGS = RankingSettings(mode="hybrid", weight=0.4, depth=DEPTH, spelling=("dense", "lexical"))


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS, QUERIES = unit_rows(COUNT, seed=0), unit_rows(60, seed=1)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder: Path = tmp_path_factory.mktemp("version")
    table = pa.table({"brand": BRANDS, "price": [float(row % 40) for row in range(COUNT)]})
    write_attributes(folder, infer(table, {}, "products"), COUNT)
    index = VectorIndex.build(VECTORS, config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
    catalogue = Catalogue([f"p{row}" for row in range(COUNT)], TITLES, table)
    lexical = LexicalIndex.build(TITLES, LexicalConfig())
    words = Words(lexical, Spelling(lexical), SETTINGS)
    return Retriever(index, catalogue, IDENTITY, Attributes.load(folder), words)


def some(retriever: Retriever, count: int) -> int:
    """Return how often something is tried: less often in a store, whose stand-in looks at every product in Python."""
    return count if retriever.is_local else max(4, count // 10)


def told(retriever: Retriever, **settings: Any) -> Retriever:
    """Return the same with other settings."""
    assert retriever.words is not None
    return retriever.with_words(replace(retriever.words, settings=replace(retriever.words.settings, **settings)))


def knobs(retriever: Retriever, text: str, k: int = 10, min_score: float | None = None, **options: Any) -> SearchKnobs:
    lowest = None if min_score is None else np.array([[min_score]], dtype=np.float32)
    sent = KnobTensors(
        k=np.array([[k]]), min_score=lowest, options=np.array([[json.dumps(options).encode()]], dtype=np.object_)
    )
    read = read_knobs(sent, 1, retriever.attributes)
    texts = read_asked(np.array([[text.encode()]], dtype=np.object_), None, read)
    retriever.check_pages(read)
    return retriever.spelled(with_texts(read, texts))[0]


def ask(retriever: Retriever, text: str, query: int = 0, **options: Any) -> Hits:
    return retriever.retrieve(QUERIES[query : query + 1], [knobs(retriever, text, **options)])


def ids(hits: Hits, row: int = 0) -> list[str]:
    return [each.decode() for each in hits.product_ids[row].tolist() if each]


def details(hits: Hits, row: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hits.details[row, 0])
    return found


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


def ruled(knob: SearchKnobs, **what: Any) -> SearchKnobs:
    """Return knobs with what merchandisers' rules do."""
    none = NamedProducts((), np.zeros(0, dtype=np.int64))
    effect = Effect("1", **{"pins": none, "excluded": none, **what})
    return replace(knob, page=replace(knob.page or Page(), effect=effect))


def test_synonyms_are_looked_for_by_words_alone(retriever: Retriever) -> None:
    knob = knobs(retriever, "sofa", mode="lexical", k=20)
    assert ids(retriever.retrieve(QUERIES[:1], [knob])) == []
    hits = retriever.retrieve(QUERIES[:1], [ruled(knob, added=("printer",))])
    expected = ids(ask(retriever, "printer", mode="lexical", k=20))
    assert (ids(hits), details(hits)["rules"]["synonyms"]) == (expected, ["printer"])
    for mode, weight, named in (("hybrid", 0.0, False), ("hybrid", None, True), ("dense", 0.4, False)):
        asked = ruled(replace(knob, ranking=replace(knob.ranking, mode=mode)), added=("printer",))
        said = details(told(retriever, weight=weight).retrieve(QUERIES[:1], [asked]))
        assert ("rules" in said) == named
    dense = replace(knob, ranking=replace(knob.ranking, mode="dense"))
    assert ids(retriever.retrieve(QUERIES[:1], [ruled(dense, added=("printer",))])) == ids(
        retriever.retrieve(QUERIES[:1], [dense])
    )


def test_rules_arrange_what_both_legs_found(retriever: Retriever) -> None:
    """Boosts are added to what decides the order; pins stand first with their cosine and what the legs found."""
    plain = retriever.retrieve(QUERIES[:1], [knobs(retriever, "printer", k=BOOST_DEPTH + 2, explain=True)])
    order, parts = ids(plain), details(plain)["explain"]
    brand = parse_filter({"brand": "Zeiss"}, retriever.attributes.schema)
    pin, out = order[7], order[0]
    rows = {"pins": [int(pin[1:])], "excluded": [int(out[1:])]}
    named = {name: NamedProducts(tuple(f"p{row}" for row in of), np.array(of)) for name, of in rows.items()}
    knob = ruled(knobs(retriever, "printer", k=10, explain=True), **named, boosts=(Boost(brand, 0.05),))
    hits = retriever.retrieve(QUERIES[:1], [knob])
    value = {
        product: part["fused"] + (0.05 if BRANDS[int(product[1:])] == "Zeiss" else 0)
        for product, part in zip(order, parts, strict=True)
    }
    expected = [pin, *sorted((each for each in order if each not in (pin, out)), key=lambda each: -value[each])][:10]
    assert ids(hits) == expected
    told_of = details(hits)["explain"]
    assert hits.scores[0, 0] == pytest.approx(float(VECTORS[int(pin[1:])] @ QUERIES[0]), abs=1e-6)
    by_product = dict(zip(order, parts, strict=True))
    assert told_of[0] == by_product[pin]
    assert [part["fused"] for part in told_of[1:]] == [by_product[product]["fused"] for product in expected[1:]]


def test_boosts_are_on_the_scale_of_what_decides(retriever: Retriever) -> None:
    """Ranks lie between 0 and 2/61: a small boost moves a product by some places there, a whole one to the front."""
    by_rank = told(retriever, weight=None)
    plain = by_rank.retrieve(QUERIES[:1], [knobs(by_rank, "printer", k=BOOST_DEPTH, explain=True)])
    order, parts = ids(plain), details(plain)["explain"]
    brand = parse_filter({"brand": "Zeiss"}, by_rank.attributes.schema)
    is_boosted = {product: BRANDS[int(product[1:])] == "Zeiss" for product in order}
    for by in (0.05, 1.0):
        knob = ruled(knobs(by_rank, "printer", k=30), boosts=(Boost(brand, by),))
        value = {
            product: part["fused"] + (by * 2 / 61 if is_boosted[product] else 0)
            for product, part in zip(order, parts, strict=True)
        }
        found = ids(by_rank.retrieve(QUERIES[:1], [knob]))
        np.testing.assert_allclose(
            [value[product] for product in found], sorted(value.values(), reverse=True)[:30], atol=2e-6
        )
        assert all(is_boosted[product] for product in found) == (by == 1.0)


@pytest.mark.parametrize("weight", [0.0, 0.4, None])
def test_a_pin_that_no_leg_found_is_worth_what_it_would_be_among_the_others(
    retriever: Retriever, weight: float | None
) -> None:
    """By its cosine and its words, so that a second stage knows it as every other; by ranks it has none."""
    weighted = told(retriever, weight=weight)
    asked = knobs(weighted, "sony printer", k=3, explain=True)
    whole = details(ask(weighted, "sony printer", k=1000, explain=True))["explain"]
    order = np.argsort(-(VECTORS @ QUERIES[0])).tolist()
    pin = next(row for row in reversed(order) if "printer" in TITLES[row] and "Sony" not in TITLES[row])
    cosine = float(VECTORS[pin] @ QUERIES[0])
    pins = NamedProducts((f"p{pin}",), np.array([pin]))
    hits = weighted.retrieve(QUERIES[:1], [ruled(asked, pins=pins)])
    (part, *others) = details(hits)["explain"]
    assert ids(hits)[0] == f"p{pin}"
    assert (part["dense_rank"], part["lexical_rank"]) == (None, None)
    assert weighted.words is not None
    bm25 = weighted.words.lexical.sums(weighted.words.lexical.query("sony printer")).scores
    share = float(bm25[pin] / max(each["bm25"] for each in whole)) if weight else 0.0
    expected = 0.0 if weight is None else (1 - weight) * max(cosine, 0) + weight * share
    assert part["fused"] == pytest.approx(expected, abs=1e-5)
    assert others == whole[:2]

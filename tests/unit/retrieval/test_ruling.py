"""What merchandisers' rules do to answers, against exact search in plain NumPy; they hold as soon as published."""

from __future__ import annotations

import errno
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.data.catalogue import Catalogue
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.retrieval import ruled
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_asked, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.ruled import BOOST_DEPTH
from trident.retrieval.ruling import ServedRules
from trident.rules.effects import CompiledRules
from trident.rules.published import RULES, published_path, write_published
from trident.rules.ruleset import RuleSet, parse_rules

COUNT, DIMENSION = 700, 8
ENCODER = "a" * 64
BRANDS = ["HP", "Dell", None]


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


VECTORS, QUERY = unit_rows(COUNT, seed=0), unit_rows(1, seed=1)
SCORES = (VECTORS.astype(np.float64) @ QUERY[0].astype(np.float64)).astype(np.float32)
RANKED = np.lexsort((np.arange(COUNT), -SCORES)).tolist()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("version")
    brands = pa.array([BRANDS[row % 3] for row in range(COUNT)], pa.string())
    table = pa.table({"brand": brands, "price": pa.array([float(row) for row in range(COUNT)])})
    write_attributes(folder, infer(table, {}, "products"), COUNT)
    index = VectorIndex.build(VECTORS, config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
    catalogue = Catalogue([f"p{row}" for row in range(COUNT)], [f"title {row}" for row in range(COUNT)], table)
    identity = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
    return Retriever(index, catalogue, identity, Attributes.load(folder))


def rules(**kinds: Any) -> RuleSet:
    found = parse_rules(kinds, "rules")
    assert found.faults == ()
    return found.rules


class Asking:
    """Asks a retriever by rules that are published."""

    def __init__(self, retriever: Retriever, path: Path) -> None:
        self.retriever, self.path, self.served = retriever, path, ServedRules(retriever)

    def publish(self, **kinds: Any) -> str:
        version = write_published(self.path, rules(**kinds), "rules.toml").version
        self.served.refresh()
        return version

    def knobs(self, text: str, k: int, **options: Any) -> SearchKnobs:
        sent = KnobTensors(k=np.array([[k]]), options=np.array([[json.dumps(options).encode()]], dtype=np.object_))
        read = read_knobs(sent, 1, self.retriever.attributes)
        texts = read_asked(np.array([[text.encode()]], dtype=np.object_), None, read)
        return self.served.applied(with_texts(read, texts), texts)[0]

    def hits(self, text: str = "desk", k: int = 10, min_score: float | None = None, **options: Any) -> Hits:
        return self.retriever.retrieve(QUERY, [replace(self.knobs(text, k, **options), min_score=min_score)])

    def rows(self, text: str = "desk", k: int = 10, **options: Any) -> list[int]:
        hits = self.hits(text, k, **options)
        found = [int(each[1:]) for each in hits.product_ids[0, : hits.counts[0, 0]].tolist()]
        if text:
            np.testing.assert_allclose(hits.scores[0, : len(found)], SCORES[found], atol=1e-6)
        return found


@pytest.fixture
def asking(retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    path = published_path(tmp_path)
    monkeypatch.setenv(RULES, str(path))
    return Asking(retriever, path)


def details(hits: Hits) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hits.details[0, 0])
    return found


def named(rows: list[int]) -> list[str]:
    return [f"p{row}" for row in rows]


def test_without_rules_nothing_changes(asking: Asking) -> None:
    assert asking.knobs("desk", 10).page is None
    assert asking.rows() == RANKED[:10]
    version = asking.publish(pins=[{"queries": ["chair"], "products": named([1])}])
    assert version
    assert asking.knobs("desk", 10).page is None  # nor for queries that none speaks of
    assert details(asking.hits()) == {}


def test_pins_come_first_with_their_own_cosines(asking: Asking) -> None:
    pins = [RANKED[500], RANKED[3], RANKED[699]]
    version = asking.publish(pins=[{"queries": ["desk"], "products": named(pins)}])
    expected = pins + [row for row in RANKED if row not in pins]
    assert asking.rows("DESK ") == expected[:10]
    assert asking.rows(k=2) == expected[:2]
    assert asking.rows(offset=2, k=300) == expected[2:302]
    assert details(asking.hits()) == {"rules": {"version": version, "pins": 3}}
    assert details(asking.hits(offset=2)) == {"rules": {"version": version, "pins": 1}}  # of this page
    asking.publish()
    assert asking.rows() == RANKED[:10]


def test_pins_keep_to_the_filter_and_the_lowest_score(asking: Asking) -> None:
    near, far = RANKED[30], RANKED[600]
    asking.publish(pins=[{"queries": ["desk"], "products": named([far, near, COUNT + 5])}])
    lowest = float(SCORES[near]) - 0.01
    passing = [row for row in RANKED if SCORES[row] >= lowest]
    assert asking.rows(min_score=lowest, k=200) == [near, *(row for row in passing if row != near)]
    brand = BRANDS[far % 3]
    own = {"brand": brand if brand else {"missing": True}}
    found = asking.rows(filter=own, k=5)
    there = [row for row in (far, near) if row % 3 == far % 3]
    assert found == (there + [row for row in RANKED if row % 3 == far % 3 and row not in there])[:5]


@pytest.mark.parametrize("few", [ruled.FEW, 0])
def test_exclusions_leave_an_answer_as_long_as_it_was(
    asking: Asking, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ruled, "FEW", few)
    out = RANKED[:40]
    version = asking.publish(
        exclusions=[{"queries": ["desk"], "products": named(out)}, {"products": [*named([RANKED[50]]), "nobody"]}]
    )
    left = [row for row in RANKED if row not in {*out, RANKED[50]}]
    assert asking.rows() == left[:10]
    assert asking.rows(k=659) == left
    assert asking.rows(offset=9, k=5) == left[9:14]
    assert asking.rows(filter={"price": {"gte": 100}}) == [row for row in left if row >= 100][:10]
    assert asking.rows("sofa", k=60) == [row for row in RANKED if row != RANKED[50]][:60]
    assert details(asking.hits()) == {"rules": {"version": version, "exclusions": 41}}
    browsed = asking.hits("", k=1000, sort="price")
    assert browsed.counts[0, 0] == COUNT - 1
    assert details(browsed)["total"] == COUNT - 1
    assert details(browsed)["rules"] == {"version": version, "exclusions": 1}
    assert f"p{RANKED[50]}".encode() not in browsed.product_ids[0]


def test_boosts_change_the_order_of_the_best_alone(asking: Asking) -> None:
    boosts = [
        {"queries": ["desk"], "filter": {"brand": "HP"}, "by": 0.2},
        {"queries": ["big desk"], "filter": {"price": {"lt": 350}}, "by": -0.5},
    ]
    version = asking.publish(boosts=boosts)
    best = RANKED[:BOOST_DEPTH]
    expected = sorted(best, key=lambda row: -(float(SCORES[row]) + (0.2 if row % 3 == 0 else 0.0)))
    assert asking.rows(k=300) == expected + RANKED[BOOST_DEPTH:300]
    assert asking.rows(k=7, offset=195) == (expected + RANKED[BOOST_DEPTH:])[195:202]
    assert sum(row % 3 == 0 for row in asking.rows(k=20)) > sum(row % 3 == 0 for row in RANKED[:20])
    assert details(asking.hits()) == {"rules": {"version": version, "boosts": 1}}
    back = asking.rows("big desk", k=BOOST_DEPTH)
    assert back == sorted(best, key=lambda row: -(float(SCORES[row]) - (0.5 if row < 350 else 0.0)))


@pytest.mark.parametrize("more", [{}, {"filter": {"price": {"gte": 50}}}])
def test_pages_of_pins_and_boosts_lose_and_repeat_none(asking: Asking, more: dict[str, Any]) -> None:
    pins = RANKED[:20]
    asking.publish(
        pins=[{"queries": ["desk"], "products": named(pins)}], boosts=[{"filter": {"brand": "HP"}, "by": 0.5}]
    )
    whole = asking.rows(k=300, **more)
    pages = [row for offset in range(0, 300, 10) for row in asking.rows(offset=offset, **more)]
    assert pages == whole
    assert len(set(whole)) == 300
    passing = [row for row in RANKED if not more or row >= 50]
    first = [row for row in pins if row in passing]
    others = [row for row in passing if row not in first]
    boosted = sorted(others[:BOOST_DEPTH], key=lambda row: -(float(SCORES[row]) + (0.5 if row % 3 == 0 else 0.0)))
    assert whole == [*first, *boosted, *others[BOOST_DEPTH:]][:300]


def test_where_an_attribute_gives_the_order_only_exclusions_hold(asking: Asking) -> None:
    pin = next(row for row in RANKED[20:] if row % 3 == 1)
    asking.publish(
        pins=[{"queries": ["desk"], "products": named([pin])}],
        boosts=[{"filter": {"brand": "HP"}, "by": 1}],
        exclusions=[{"products": ["p0", "p1"]}],
    )
    assert asking.rows(sort="price", filter={"price": {"lt": 6}}) == [2, 3, 4, 5]
    grouped = asking.rows(group="brand")
    assert grouped[0] == pin
    assert [row % 3 for row in grouped].count(1) == 1  # a pin is the one of its value


def test_facets_count_pins_and_no_excluded_product(asking: Asking) -> None:
    asking.publish(pins=[{"queries": ["desk"], "products": ["p3"]}], exclusions=[{"products": ["p0"]}])
    found = details(asking.hits(filter={"price": {"lt": 6}}, facets=["brand"], fields=["price"]))
    assert {each["value"]: each["count"] for each in found["facets"]["brand"]["values"]} == {"HP": 1, "Dell": 2}
    assert found["attributes"][0] == {"price": 3}
    own = details(asking.hits(filter={"brand": "HP", "price": {"lt": 6}}, facets=["brand"]))
    assert {each["value"]: each["count"] for each in own["facets"]["brand"]["values"]} == {"HP": 1, "Dell": 2}


def test_products_like_another_keep_to_what_holds_for_all(asking: Asking) -> None:
    near = RANKED[1]
    asking.publish(exclusions=[{"products": named([near])}], pins=[{"queries": ["desk"], "products": ["p9"]}])
    found = asking.hits("", like=f"p{RANKED[0]}", k=COUNT)
    assert found.counts[0, 0] == COUNT - 2
    assert f"p{near}".encode() not in found.product_ids[0]


def test_a_redirect_comes_with_the_answer(asking: Asking) -> None:
    version = asking.publish(redirects=[{"queries": ["desk returns"], "match": "words", "to": "/help"}])
    hits = asking.hits("returns of a desk")
    assert details(hits) == {"rules": {"version": version}, "redirect": "/help"}
    assert asking.rows("returns of a desk") == RANKED[:10]


def test_rules_can_be_turned_off_for_a_request(asking: Asking) -> None:
    asking.publish(pins=[{"queries": ["desk"], "products": ["p9"]}], redirects=[{"queries": ["desk"], "to": "/"}])
    assert asking.rows()[0] == 9
    assert asking.rows(rules=True)[0] == 9
    assert asking.knobs("desk", 10, rules=False).page is None  # as fast as without any
    assert asking.rows(rules=False) == RANKED[:10]
    assert asking.rows(rules=False, offset=1) == RANKED[1:11]
    assert details(asking.hits(rules=False)) == {}


def test_a_batch_is_answered_as_its_queries_alone(asking: Asking) -> None:
    asking.publish(
        pins=[{"queries": ["desk"], "products": ["p9"]}], exclusions=[{"queries": ["sofa"], "products": ["p3"]}]
    )
    knobs = [asking.knobs(text, k) for text, k in (("desk", 3), ("lamp", 5), ("sofa", 10), ("desk", 7))]
    together = asking.retriever.retrieve(np.repeat(QUERY, 4, axis=0), knobs)
    for row, knob in enumerate(knobs):
        alone = asking.retriever.retrieve(QUERY, [knob])
        assert together.product_ids[row, : knob.k].tolist() == alone.product_ids[0].tolist()
        assert together.details[row, 0] == alone.details[0, 0]


def test_a_rule_whose_field_is_not_there_is_left_out_and_told(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asking.publish(boosts=[{"filter": {"colour": "red"}, "by": 0.5}], exclusions=[{"products": ["p0"]}])
    assert "generation 0123456789abcdef: without boosts 1: filter has no field 'colour'" in caplog.text
    assert asking.rows(k=3) == [row for row in RANKED if row][:3]


def test_a_damaged_file_leaves_the_rules_that_hold(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    asking.publish(pins=[{"queries": ["desk"], "products": ["p9"]}])
    asking.path.write_text("{")
    with caplog.at_level(logging.WARNING):
        asking.served.refresh()
        asking.served.refresh()
    assert caplog.text.count("the rules before go on holding") == 1
    assert asking.rows()[0] == 9
    asking.path.unlink()
    asking.served.refresh()
    assert asking.rows() == RANKED[:10]


def test_a_file_that_cannot_be_read_for_a_moment_holds_afterwards(
    asking: Asking, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any, **__: Any) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", none_left)
        asking.publish(pins=[{"queries": ["desk"], "products": ["p9"]}])
        asking.served.refresh()
        assert asking.rows() == RANKED[:10]
    assert caplog.text.count("the rules before go on holding") == 1
    asking.served.refresh()
    assert asking.rows()[0] == 9


def test_a_process_that_is_told_of_none_has_none(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RULES, raising=False)
    served = ServedRules(retriever)
    served.refresh()
    knobs = [SearchKnobs()]
    assert served.applied(knobs, [("desk", "query")]) is knobs


def test_the_lexical_leg_is_told_what_to_look_for_as_well(retriever: Retriever) -> None:
    found = rules(synonyms=[{"both_ways": ["couch", "sofa"]}])
    schema = retriever.attributes.schema
    effect = CompiledRules(found, retriever.product_ids, schema, with_synonyms=True).effect("Red  SOFA")
    assert effect is not None
    assert effect.added == ("couch",)
    assert effect.details({"synonyms": ["couch"]}) == {"rules": {"version": found.version, "synonyms": ["couch"]}}
    assert effect.details({}) == {}  # nobody looked for them
    assert CompiledRules(found, retriever.product_ids, schema).effect("red sofa") is None

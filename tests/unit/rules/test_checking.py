"""Rules that contradict each other, or name what is not there, are told in one line each."""

from __future__ import annotations

from typing import Any

import pytest

from trident.attributes.schema import Field, Schema
from trident.rules.checking import contradictions, named_products, unknown_fields, unknown_products
from trident.rules.ruleset import RuleSet, parse_rules

SCHEMA = Schema(fields=(Field(name="brand", type="keyword"), Field(name="price", type="number")))


def rules(**kinds: Any) -> RuleSet:
    found = parse_rules(kinds, "rules")
    assert found.faults == ()
    return found.rules


PIN = {"queries": ["office chair"], "products": ["1", "2"]}
BOOST = {"queries": ["desk"], "filter": {"brand": "HP"}, "by": 0.1}
BACK = {"queries": ["returns"], "to": "/returns"}
WORDS = {"match": "words"}
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"pins": [{**PIN, **WORDS}, {"queries": ["chair office"], "products": ["3"], **WORDS}]},
        "pins 1 and 2: both are of 'chair office', so who is first is open: make one of them",
    ),
    (
        {"pins": [{**PIN, **WORDS}], "exclusions": [{"queries": ["chair office"], "products": ["2"], **WORDS}]},
        "pins 1 and exclusions 1: '2' is pinned and excluded for 'office chair'",
    ),
    (
        {
            "redirects": [
                {"queries": ["send back"], "to": "/a", **WORDS},
                {"queries": ["back send"], "to": "/b", **WORDS},
            ]
        },
        "redirects 1 and 2: 'back send' is sent to /a and to /b",
    ),
    (
        {"synonyms": [{"both_ways": ["couch", "sofa"]}, {"both_ways": ["Sofa", "settee"]}]},
        "synonyms 1 and 2: 'sofa' stands in both, and one does not find the other's words: make one of them",
    ),
    (
        {"synonyms": [{"word": "a", "finds": ["b"]}, {"word": "b", "finds": ["A"]}]},
        "synonyms 1 and 2: 'a' and 'b' find each other: write both_ways",
    ),
    (
        {"synonyms": [{"word": "a", "finds": ["b"]}, {"word": "a", "finds": ["b"]}]},
        "synonyms 1 and 2: both say that 'a' finds 'b'",
    ),
    (
        {"synonyms": [{"word": "a", "finds": ["b"]}, {"both_ways": ["a", "b"]}]},
        "synonyms 2 and 1: both say that 'a' finds 'b'",
    ),
    (
        {"pins": [PIN, {"queries": ["Office CHAIR"], "products": ["3"]}]},
        "pins 1 and 2: both are of 'office chair', so who is first is open: make one of them",
    ),
    (
        {"pins": [PIN], "exclusions": [{"products": ["9"]}, {"queries": ["office  chair"], "products": ["2"]}]},
        "pins 1 and exclusions 2: '2' is pinned and excluded for 'office chair'",
    ),
    (
        {"pins": [PIN], "exclusions": [{"products": ["1"]}]},
        "pins 1 and exclusions 1: '1' is pinned and excluded for 'office chair'",
    ),
    (
        {"boosts": [BOOST, {**BOOST, "by": -0.2}]},
        """boosts 1 and 2: both are of 'desk' and {"brand": "HP"}, one to the front and one to the back: make one of """
        "them",
    ),
    (
        {"boosts": [{**BOOST, "queries": []}, {**BOOST, "queries": []}]},
        """boosts 1 and 2: both are of 'every query' and {"brand": "HP"}, twice: make one of them""",
    ),
    (
        {"redirects": [BACK, {**BACK, "to": "/other"}]},
        "redirects 1 and 2: 'returns' is sent to /returns and to /other",
    ),
]


@pytest.mark.parametrize(("kinds", "line"), CONTRADICTIONS)
def test_two_rules_that_contradict_each_other_are_named(kinds: dict[str, Any], line: str) -> None:
    assert contradictions(rules(**kinds)) == [line]


def test_rules_that_speak_of_other_queries_do_not_contradict_each_other() -> None:
    kinds = {
        "pins": [PIN, {**PIN, "match": "words"}, {"queries": ["chair"], "products": ["1"]}],
        "exclusions": [{"queries": ["sofa"], "products": ["1"]}],
        "boosts": [BOOST, {**BOOST, "filter": {"brand": "Dell"}}, {**BOOST, "queries": ["table"], "by": -0.1}],
        "redirects": [BACK, {**BACK, "queries": ["help"], "to": "/help"}],
        "synonyms": [{"both_ways": ["a", "b"]}, {"word": "a", "finds": ["c"]}, {"word": "c", "finds": ["d"]}],
    }
    assert contradictions(rules(**kinds)) == []


def test_fields_that_are_not_there_are_named() -> None:
    found = rules(boosts=[BOOST, {**BOOST, "filter": {"brnad": "HP"}}, {**BOOST, "filter": {"price": "cheap"}}])
    lines = unknown_fields(found, SCHEMA)
    assert lines == [
        "boosts 2: filter has no field 'brnad' (did you mean 'brand'?): it has brand, price",
        'boosts 3: filter: price is a number and takes a number, got "cheap"',
    ]


def test_products_that_are_not_there_are_named() -> None:
    found = rules(pins=[PIN], exclusions=[{"products": [*"abcdefg"]}, {"products": ["1"]}])
    assert named_products(found) == ["1", "2", *"abcdefg"]
    assert unknown_products(found, {"1", "2", "a"}) == ["exclusions 1: no product is called b, c, d, e, f and 1 more"]
    assert unknown_products(found, {"2", *"abcdefg"}) == [
        "pins 1: no product is called 1",
        "exclusions 2: no product is called 1",
    ]


def test_a_rule_does_not_contradict_itself_where_words_may_stand_in_any_order() -> None:
    both = {**PIN, **WORDS, "queries": ["office chair", "chair office"]}
    assert contradictions(rules(pins=[both, {**PIN, "queries": ["chair office"]}])) == []

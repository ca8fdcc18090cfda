"""What is wrong with rules beyond their form: they contradict each other, or name what a generation does not have."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from trident.attributes.filters import parse_filter
from trident.attributes.schema import Schema, shown
from trident.errors import DataError
from trident.rules.matching import normalised
from trident.rules.ruleset import BoostRule, ExclusionRule, PinRule, RuleSet, SynonymRule

SHOWN = 5  # products of a rule that are named in a line
EVERY = "every query"


def contradictions(rules: RuleSet) -> list[str]:
    """Return a line for each two rules of which one undoes the other, or that leave open which holds."""
    return [*_synonyms(rules.synonyms), *_pins(rules), *_boosts(rules.boosts), *_redirects(rules)]


def unknown_fields(rules: RuleSet, schema: Schema) -> list[str]:
    """Return a line for each boost whose filter the attributes of a generation do not know."""
    faults = []
    for number, rule in enumerate(rules.boosts, start=1):
        try:
            parse_filter(rule.filter, schema)
        except DataError as error:
            faults.append(f"boosts {number}: {error}")
    return faults


def unknown_products(rules: RuleSet, there: Collection[str]) -> list[str]:
    """Return a line for each pin and exclusion that names products which are not there.

    Args:
        rules: Of a file.
        there: The ids that are, of those that the rules name at least.
    """
    faults = []
    kinds: dict[str, Sequence[PinRule | ExclusionRule]] = {"pins": rules.pins, "exclusions": rules.exclusions}
    for kind, kept in kinds.items():
        for number, rule in enumerate(kept, start=1):
            missing = [product for product in rule.products if product not in there]
            if missing:
                more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
                faults.append(f"{kind} {number}: no product is called {', '.join(missing[:SHOWN])}{more}")
    return faults


def named_products(rules: RuleSet) -> list[str]:
    """Return the products that rules name, each once."""
    return list(dict.fromkeys(product for rule in rules.of_products for product in rule.products))


def _synonyms(rules: Sequence[SynonymRule]) -> Iterator[str]:
    groups: dict[str, int] = {}  # word -> the rule of both ways that it stands in
    ways: dict[tuple[str, str], int] = {}
    for number, rule in enumerate(rules, start=1):
        for word in map(normalised, rule.both_ways):
            if word in groups:
                yield (
                    f"synonyms {groups[word]} and {number}: '{word}' stands in both, and one does not find the "
                    "other's words: make one of them"
                )
            groups[word] = number
        for other in map(normalised, rule.finds):
            word = normalised(rule.word)
            if (other, word) in ways:
                first = ways[other, word]
                yield f"synonyms {first} and {number}: '{other}' and '{word}' find each other: write both_ways"
            elif (word, other) in ways:
                yield f"synonyms {ways[word, other]} and {number}: both say that '{word}' finds '{other}'"
            ways[word, other] = number
    for (word, other), number in ways.items():
        if word in groups and groups[word] == groups.get(other):
            yield f"synonyms {groups[word]} and {number}: both say that '{word}' finds '{other}'"


def _key(match: str, query: str) -> tuple[str, str]:
    """Return what two rules have in common that speak of the same queries; words are in any order."""
    return match, " ".join(sorted(set(query.split()))) if match == "words" else query


def _pins(rules: RuleSet) -> Iterator[str]:
    pinned: dict[tuple[str, str], int] = {}
    excluded: dict[tuple[str, str], dict[str, int]] = {}
    for number, rule in enumerate(rules.exclusions, start=1):
        for query in map(normalised, rule.queries or (EVERY,)):
            key = _key(rule.match, query) if rule.queries else ("", query)
            excluded.setdefault(key, {}).update(dict.fromkeys(rule.products, number))
    for number, pins in enumerate(rules.pins, start=1):
        for query in map(normalised, pins.queries):
            key = _key(pins.match, query)
            if pinned.get(key, number) != number:
                first = pinned[key]
                yield f"pins {first} and {number}: both are of '{query}', so who is first is open: make one of them"
            pinned[key] = number
            for where in (key, ("", EVERY)):
                numbers = excluded.get(where, {})
                both = [product for product in pins.products if product in numbers]
                if both:
                    other = numbers[both[0]]
                    yield f"pins {number} and exclusions {other}: '{both[0]}' is pinned and excluded for '{query}'"


def _boosts(rules: Sequence[BoostRule]) -> Iterator[str]:
    known: dict[tuple[str, str, str], int] = {}
    for number, rule in enumerate(rules, start=1):
        text = json.dumps(rule.filter, sort_keys=True)
        for query in map(normalised, rule.queries or (EVERY,)):
            key = (*(_key(rule.match, query) if rule.queries else ("", query)), text)
            if known.get(key, number) != number:
                signs = "one to the front and one to the back" if rules[known[key] - 1].by * rule.by < 0 else "twice"
                of = f"'{query}' and {shown(rule.filter)}"
                yield f"boosts {known[key]} and {number}: both are of {of}, {signs}: make one of them"
            known[key] = number


def _redirects(rules: RuleSet) -> Iterator[str]:
    known: dict[tuple[str, str], int] = {}
    for number, rule in enumerate(rules.redirects, start=1):
        for query in map(normalised, rule.queries):
            key = _key(rule.match, query)
            if known.get(key, number) != number:
                first = rules.redirects[known[key] - 1].to
                yield f"redirects {known[key]} and {number}: '{query}' is sent to {first} and to {rule.to}"
            known[key] = number

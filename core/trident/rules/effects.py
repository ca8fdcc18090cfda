"""What rules do to one query: which products they name, what is added to which cosine, where it leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.filters import All, parse_filter
from trident.attributes.schema import Schema
from trident.data.texts import Texts
from trident.errors import DataError
from trident.rules.matching import Matching, normalised
from trident.rules.ruleset import RuleSet
from trident.rules.synonyms import Synonyms


@dataclass(frozen=True, eq=False)
class NamedProducts:
    """Products by their ids, and the row (P,) int64 of each in the generation; -1: it has none."""

    ids: tuple[str, ...]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Boost:
    """How much further to the front products stand that pass a filter."""

    filter: All
    by: float


@dataclass(frozen=True, eq=False)
class Effect:
    """What the rules that speak of a query do.

    Attributes:
        version: Of the rules.
        pins: Products that stand first, in this order; none of them is excluded.
        excluded: Products that are no answer.
        boosts: Each is added to the cosine, for the order alone.
        redirect: Where whoever asks is sent to; None: nowhere.
        added: What the lexical leg looks for as well.
    """

    version: str
    pins: NamedProducts
    excluded: NamedProducts
    boosts: tuple[Boost, ...] = ()
    redirect: str | None = None
    added: tuple[str, ...] = ()

    def details(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of it in an answer.

        Args:
            said: To how many products what was done, by kind, and the synonyms that were looked for.
        """
        if not said and self.redirect is None:  # it names products that are not there
            return {}
        found: dict[str, Any] = {"rules": {"version": self.version, **said}}
        return found if self.redirect is None else {**found, "redirect": self.redirect}


@dataclass(frozen=True)
class _Places:
    """The places of the rules that speak of a query, by kind, and what stands for its words."""

    pins: list[int]
    exclusions: list[int]
    boosts: list[int]
    redirects: list[int]
    added: tuple[str, ...] = ()


class CompiledRules:
    """Rules over the products of one generation.

    Args:
        rules: Of a file.
        product_ids: Of the generation.
        schema: Of its attributes.
        may_come: Whether products may come that it does not have: its catalogue is live.
        with_synonyms: Whether there is a leg that looks for words.
        form: Of a word, which words have in common that are the same to that leg.
    """

    def __init__(
        self,
        rules: RuleSet,
        product_ids: Texts,
        schema: Schema,
        *,
        may_come: bool = False,
        with_synonyms: bool = False,
        form: Callable[[str], str] = str,
    ) -> None:
        """Find the rows of products, and hold filters against the attributes."""
        self.version = rules.version
        self._rules, self._may_come = rules, may_come
        named = [product for rule in rules.of_products for product in rule.products]
        self._row_of: Mapping[str, int] = product_ids.rows_of(named) if named else {}
        self.faults: list[str] = []  # a line for each boost that this generation has no field for
        self._boosts = [self._boost(number, schema) for number in range(len(rules.boosts))]
        self._synonyms = Synonyms(rules.synonyms if with_synonyms else (), form)
        kinds = (rules.pins, rules.exclusions, rules.boosts, rules.redirects)
        self._pins, self._exclusions, self._boosting, self._redirects = (Matching(kind) for kind in kinds)
        self._of_all = self._effect(_Places([], self._exclusions.of_all, self._boosting.of_all, []))

    def effect(self, text: str) -> Effect | None:
        """Return what the rules do to a query; None: nothing.

        Args:
            text: As it was typed; empty where there is none.
        """
        query = normalised(text)
        kinds = (self._pins, self._exclusions, self._boosting, self._redirects)
        pins, exclusions, boosts, redirects = (kind.places(query) for kind in kinds)
        added = self._synonyms.expanded(query.split())
        if not (pins or exclusions or boosts or redirects or added):
            return self._of_all
        exclusions += self._exclusions.of_all
        return self._effect(_Places(pins, exclusions, boosts + self._boosting.of_all, redirects, added))

    def _effect(self, places: _Places) -> Effect | None:
        excluded = self._named(self._rules.exclusions[place].products for place in places.exclusions)
        barred = set(excluded.ids)
        pins = self._named(
            tuple(product for product in self._rules.pins[place].products if product not in barred)
            for place in places.pins
        )
        boosts = tuple(boost for place in places.boosts if (boost := self._boosts[place]) is not None)
        redirect = self._rules.redirects[places.redirects[0]].to if places.redirects else None
        if not (pins.ids or excluded.ids or boosts or redirect or places.added):
            return None
        return Effect(self.version, pins, excluded, boosts, redirect, places.added)

    def _named(self, products: Iterable[tuple[str, ...]]) -> NamedProducts:
        """Return products that are there, or may come, each once, in their order."""
        ids = dict.fromkeys(product for each in products for product in each)
        kept = tuple(product for product in ids if self._may_come or product in self._row_of)
        return NamedProducts(kept, np.array([self._row_of.get(product, -1) for product in kept], dtype=np.int64))

    def _boost(self, number: int, schema: Schema) -> Boost | None:
        rule = self._rules.boosts[number]
        try:
            return Boost(parse_filter(rule.filter, schema), rule.by)
        except DataError as error:
            self.faults.append(f"boosts {number + 1}: {error}")
            return None

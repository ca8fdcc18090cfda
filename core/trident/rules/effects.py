"""What rules do to one query over the products of a generation: rows in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, Rows
from trident.attributes.evaluation import which_pass
from trident.attributes.filters import All, parse_filter
from trident.attributes.schema import Schema
from trident.data.texts import Texts
from trident.errors import DataError
from trident.rules.matching import Matching, normalised
from trident.rules.ruleset import RuleSet
from trident.rules.synonyms import Synonyms

BOOST_DEPTH = 200  # of the best products, whose order boosts change; the others follow as they are
FEW = 100  # excluded products that are left out after a search for so many more; of more, a search is told


def no_rows() -> NDArray[np.int64]:
    """Return no rows."""
    return np.zeros(0, dtype=np.int64)


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
        pins: (P,) int64 rows that stand first, in this order; none of them is excluded.
        excluded: (E,) int64 rows that are no answer, ascending.
        boosts: Each is added to the cosine, for the order alone.
        redirect: Where whoever asks is sent to; None: nowhere.
        added: What the lexical leg looks for as well.
    """

    version: str
    pins: NDArray[np.int64] = field(default_factory=no_rows)
    excluded: NDArray[np.int64] = field(default_factory=no_rows)
    boosts: tuple[Boost, ...] = ()
    redirect: str | None = None
    added: tuple[str, ...] = ()

    @cached_property
    def left_out(self) -> NDArray[np.int64]:
        """The rows that the ranking has no place for: excluded ones, and pins, whose place is another."""
        return np.concatenate([self.excluded, self.pins])

    def permitted(self, rows: Rows | None, count: int, *, always: bool = False) -> Rows | None:
        """Return which of the rows that a filter leaves may be answered.

        Args:
            rows: Ascending; None: all.
            count: How many products there are.
            always: Whether rows are wanted although so few are excluded that they can be left out later.
        """
        if not len(self.excluded):
            return rows
        if rows is not None:
            return rows[~np.isin(rows, self.excluded.astype(np.uint32), assume_unique=True)]
        if len(self.excluded) <= FEW and not always:
            return None
        there = np.ones(count, dtype=bool)
        there[self.excluded] = False
        return np.flatnonzero(there).astype(np.uint32)

    def boosted(self, rows: NDArray[np.int64], scores: NDArray[np.float32], attributes: Attributes) -> NDArray[np.intp]:
        """Return the places (R,) of rows, best first, in the order that boosts give the first ``BOOST_DEPTH``."""
        depth = min(len(rows), BOOST_DEPTH)
        best = scores[:depth].astype(np.float64)
        for boost in self.boosts:
            best[which_pass(boost.filter, attributes, rows[:depth].astype(np.uint32))] += boost.by
        return np.concatenate([np.argsort(-best, kind="stable"), np.arange(depth, len(rows))])

    def details(self) -> dict[str, Any]:
        """Return what is said of it in an answer."""
        counts = {"pins": len(self.pins), "exclusions": len(self.excluded), "boosts": len(self.boosts)}
        said: dict[str, Any] = {name: count for name, count in counts.items() if count}
        if self.added:
            said["synonyms"] = list(self.added)
        found: dict[str, Any] = {"rules": {"version": self.version, **said}}
        return found if self.redirect is None else {**found, "redirect": self.redirect}


class CompiledRules:
    """Rules over the products of one generation.

    Args:
        rules: Of a file.
        product_ids: Of the generation.
        schema: Of its attributes.
        with_synonyms: Whether there is a leg that looks for words.
    """

    def __init__(self, rules: RuleSet, product_ids: Texts, schema: Schema, *, with_synonyms: bool = False) -> None:
        """Find the rows of products, and hold filters against the attributes."""
        self.version = rules.version
        self._rules = rules
        named = [product for rule in (*rules.pins, *rules.exclusions) for product in rule.products]
        self._row_of: Mapping[str, int] = product_ids.rows_of(named) if named else {}
        self.faults: list[str] = []  # a line for each boost that this generation has no field for
        self._boosts = [self._boost(number, schema) for number in range(len(rules.boosts))]
        self._synonyms = Synonyms(rules.synonyms if with_synonyms else ())
        kinds = (rules.pins, rules.exclusions, rules.boosts, rules.redirects)
        self._pins, self._exclusions, self._boosting, self._redirects = (Matching(kind) for kind in kinds)
        self._of_all = self._effect([], self._exclusions.of_all, self._boosting.of_all, [], ())

    def effect(self, text: str) -> Effect | None:
        """Return what the rules do to a query; None: nothing.

        Args:
            text: As it was typed; empty where there is none.
        """
        query = normalised(text)
        pins, exclusions = self._pins.places(query), self._exclusions.places(query)
        boosts, redirects = self._boosting.places(query), self._redirects.places(query)
        added = self._synonyms.expanded(query.split())
        if not (pins or exclusions or boosts or redirects or added):
            return self._of_all
        exclusions += self._exclusions.of_all
        return self._effect(pins, exclusions, boosts + self._boosting.of_all, redirects, added)

    def _effect(
        self,
        pins: list[int],
        exclusions: list[int],
        boosts: list[int],
        redirects: list[int],
        added: tuple[str, ...],
    ) -> Effect | None:
        barred = set(self._rows(self._rules.exclusions[place].products for place in exclusions))
        pinned = [row for row in self._rows(self._rules.pins[place].products for place in pins) if row not in barred]
        effect = Effect(
            self.version,
            np.array(pinned, dtype=np.int64),
            np.array(sorted(barred), dtype=np.int64),
            tuple(boost for place in boosts if (boost := self._boosts[place]) is not None),
            self._rules.redirects[redirects[0]].to if redirects else None,
            added,
        )
        nothing = not (pinned or barred or effect.boosts or effect.redirect or added)
        return None if nothing else effect

    def _rows(self, products: Iterable[tuple[str, ...]]) -> list[int]:
        """Return the rows of products that are there, each once, in their order."""
        named = dict.fromkeys(product for each in products for product in each)
        return [self._row_of[product] for product in named if product in self._row_of]

    def _boost(self, number: int, schema: Schema) -> Boost | None:
        rule = self._rules.boosts[number]
        try:
            return Boost(parse_filter(rule.filter, schema), rule.by)
        except DataError as error:
            self.faults.append(f"boosts {number + 1}: {error}")
            return None

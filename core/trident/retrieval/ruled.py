"""What merchandisers' rules do to the ranking of one query, over the products that are searched: rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Rows
from trident.ranking.fusion import RANKS_BEST, values_beside
from trident.ranking.legs import Parts, Plan, Ranked
from trident.retrieval.options import Page
from trident.retrieval.products import Found, Products
from trident.retrieval.tensors import K_MAX
from trident.rules.effects import Effect

BOOST_DEPTH = 200  # of the best products, whose order boosts change; the others follow as they are
FEW = 100  # excluded products that are left out after a search for so many more; of more, a search is told


@dataclass(frozen=True, eq=False)
class Ruled:
    """An effect over products.

    Attributes:
        products: They.
        effect: What rules do.
        pins: (P,) int64 rows that stand first.
        excluded: (E,) int64 rows that are no answer.
        boosts: Whether boosts change the order.
    """

    products: Products
    effect: Effect
    pins: NDArray[np.int64]
    excluded: NDArray[np.int64]
    boosts: bool

    @classmethod
    def of(cls, page: Page, products: Products, own_row: int = -1) -> Ruled | None:
        """Return what rules do to a page; None: nothing.

        Where an attribute gives the order, pins and boosts do nothing.

        Args:
            page: Of the query.
            products: That are searched.
            own_row: Of the product that others shall be like, which is no answer; -1: none.
        """
        effect = page.effect
        if effect is None:
            return None
        pins, excluded = products.rows_named(effect.pins), products.rows_named(effect.excluded)
        if page.sort:
            pins = pins[:0]
        return cls(products, effect, pins[pins != own_row], excluded, bool(effect.boosts) and not page.sort)

    def permitted(self, rows: Rows | None, depth: int | None) -> Rows | None:
        """Return which of the rows that a filter leaves may be answered; None: all, excluded ones are left out later.

        Args:
            rows: Ascending; None: all.
            depth: Of the ranking; None: nothing is ranked, every row is wanted.
        """
        if not len(self.excluded):
            return rows
        if rows is None and depth is not None and depth + len(self.excluded) <= K_MAX and len(self.excluded) <= FEW:
            return None
        rows = self.products.rows if rows is None else rows
        return rows[~np.isin(rows, self.excluded.astype(np.uint32), assume_unique=True)]

    def depth(self, wanted: int, permitted: Rows | None) -> int:
        """Return how many of the best must be known so that so many are left."""
        if self.boosts:  # on every page so many are boosted, beside the pins
            wanted = max(wanted, BOOST_DEPTH + len(self.pins))
        return min(wanted if permitted is not None else wanted + len(self.excluded), K_MAX)

    def arranged(
        self,
        best: Found | Ranked,
        query: NDArray[np.float32],
        lowest: float | None,
        permitted: Rows | None,
        plan: Plan | None = None,
    ) -> Found | Ranked:
        """Return a ranking by the rules: without what is excluded, boosts in it, pins before it.

        A pin must pass the filter and the lowest score, as others do.

        Args:
            best: The best products.
            query: (1, D).
            lowest: Score of an answer; None: any.
            permitted: Rows that may be answered; None: all.
            plan: By which vectors and words ranked them; None: vectors alone did.
        """
        kept = np.flatnonzero(~np.isin(best.rows, np.concatenate([self.excluded, self.pins])))
        if self.boosts:
            kept = kept[self._boosted(taken(best, kept), plan)]
        pins = self.pins if permitted is None else self.pins[np.isin(self.pins, permitted)]
        if not len(pins):
            return taken(best, kept)
        cosines: NDArray[np.float32] = self.products.vectors(pins) @ query[0]
        if lowest is not None:
            passes = cosines >= np.float32(lowest)
            pins, cosines = pins[passes], cosines[passes]
        missing = ~np.isin(pins, best.rows)
        whole = self._with(best, pins[missing], cosines[missing], plan)
        first = (pins[:, None] == whole.rows).argmax(axis=1)  # (P,) places: a row stands there once
        return taken(whole, np.concatenate([first, kept]))

    def details(self, rows: NDArray[np.int64], plan: Plan | None = None) -> dict[str, Any]:
        """Return what is said of it in an answer: how many of its products are pins, which are its first, and so on.

        Args:
            rows: Of the answer.
            plan: By which vectors and words ranked them; None: vectors alone did, or nothing.
        """
        said: dict[str, Any] = {}
        if len(self.pins):
            said["pins"] = int(np.isin(self.pins, rows).sum())
        if len(self.excluded):
            said["exclusions"] = len(self.excluded)
        if self.boosts:
            said["boosts"] = len(self.effect.boosts)
        if plan is not None and plan.runs_lexical and self.effect.added:
            said["synonyms"] = list(self.effect.added)
        return self.effect.details(said)

    def _boosted(self, best: Found | Ranked, plan: Plan | None) -> NDArray[np.intp]:
        """Return the places (R,) of rows in the order that boosts give the first ``BOOST_DEPTH``."""
        depth, rows = min(len(best.rows), BOOST_DEPTH), best.rows
        decides = best.parts.values if isinstance(best, Ranked) else best.scores
        values = decides[:depth].astype(np.float64)
        unit = RANKS_BEST if plan is not None and plan.weight is None else 1.0  # what the best is worth, as a cosine
        for boost in self.effect.boosts:
            values[self.products.which_pass(boost.filter, rows[:depth])] += boost.by * unit
        return np.concatenate([np.argsort(-values, kind="stable"), np.arange(depth, len(rows))])

    def _with(
        self, best: Found | Ranked, rows: NDArray[np.int64], cosines: NDArray[np.float32], plan: Plan | None
    ) -> Found | Ranked:
        """Return products and others behind them that no leg found, with what they are worth all the same."""
        both, scores = np.append(best.rows, rows), np.append(best.scores, cosines)
        if not isinstance(best, Ranked):
            return Found(both, scores, best.way)
        assert plan is not None
        bm25, most = None, 0.0
        if best.parts.bm25 is not None:
            lexical = self.products.lexical
            assert lexical is not None
            bm25 = lexical.sums(plan.query).scores[rows] if len(rows) else np.zeros(0, dtype=np.float32)
            most = float(best.parts.bm25.max(initial=0.0))
        nowhere = np.zeros(len(rows), dtype=np.int64)
        parts = Parts(values_beside(cosines, bm25, most, plan.weight), bm25, nowhere, nowhere, nowhere)
        return Ranked(both, scores, best.way, best.parts.followed_by(parts), best.depth)


def taken(best: Found | Ranked, places: NDArray[np.intp]) -> Found | Ranked:
    """Return some of the products, in the order of their places."""
    if isinstance(best, Ranked):
        return best.take(places)
    return Found(best.rows[places], best.scores[places], best.way)

"""Answers one query that has a page over an engine: the filter is its work; what needs all that pass is bounded.

The engine has no snapshot: the requests of one page are answered one after the other, each with what was written by
then. What it cannot answer rightly is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import plain_number
from trident.attributes.facets import Facet, count_facet, shown_values
from trident.attributes.filters import All, InRange, Missing, Not, own_field
from trident.attributes.ordering import first_of_each, sorted_places
from trident.cluster.asking import Hit, Wanted, by_id, cosines, in_order, nearest_each
from trident.cluster.collection import Collection
from trident.cluster.filters import Translated, both, translate
from trident.cluster.pool import PoolAttributes, value_counts
from trident.errors import DataError
from trident.index.exact_search import TIE_TOLERANCE
from trident.retrieval.options import OFFSET, Page
from trident.retrieval.products import Way
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.tensors import K_MAX

SORTED_MOST = 10_000  # products that are fetched to be sorted or grouped
BROWSED_MOST = 100_000  # products that are passed over at the front
VALUES_MOST = 10_000  # different values of a facet over everything that passes


@dataclass(frozen=True, eq=False)
class StorePage:
    """The products of one page with their scores, what else is to be said of it, and the way that found them."""

    hits: Sequence[Hit]
    scores: NDArray[np.float32]
    way: Way
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StoreQuery:
    """One query: its vector (D,), knobs with a page, the point of the product that it is like; empty: none."""

    vector: NDArray[np.float32]
    knobs: SearchKnobs
    page: Page
    own_point: str = ""


class StorePages:
    """Answers queries over the products of a collection."""

    def __init__(self, collection: Collection) -> None:
        """Keep it."""
        self._collection = collection

    def answer(self, query: StoreQuery) -> StorePage:
        """Return the products of a page.

        Raises:
            DataError: If it is one that the engine does not answer.
            StoreError: If the engine does not answer, or answers wrongly.
        """
        page, knobs = query.page, query.knobs
        which = self._which(page)
        pool: list[Hit] = []
        if page.browses:
            shown, total = self._browsed(page, knobs.k, which)
            hits = by_id(self._collection, [hit.point for hit in shown])
            scores: NDArray[np.float32] = np.zeros(len(hits), dtype=np.float32)
            way: Way = "browse"
            details: dict[str, Any] = {"way": way, "total": total}
        else:
            pool = self._ranked(query, K_MAX if page.needs_pool else page.offset + knobs.k, which)
            chosen = [pool[place] for place in self._places(page, pool).tolist()][page.offset : page.offset + knobs.k]
            hits = by_id(self._collection, [hit.point for hit in chosen])
            scores, way = cosines(self._collection, query.vector, hits), "cluster"
            if not page.sort:
                order = np.lexsort((np.array([hit.row for hit in hits]), -scores))
                hits, scores = [hits[place] for place in order.tolist()], scores[order]
            details = {} if page.filter is None else {"way": way}
        if page.fields:
            attributes = self._attributes(hits)
            details["attributes"] = [attributes.of_row(place, page.fields) for place in range(len(hits))]
        if page.facets:
            details["facets"] = self._facets(query, which, pool)
        return StorePage(hits, scores, way, details)

    def _which(self, page: Page, without: str = "") -> Translated:
        """Return the filter, all of it or what it says of other fields."""
        return True if page.filter is None else translate(page.filter.without(without), self._collection.keys)

    def _attributes(self, hits: Sequence[Hit]) -> PoolAttributes:
        return PoolAttributes(self._collection.schema, self._collection.keys, [hit.payload for hit in hits])

    def _keys(self, page: Page) -> list[str]:
        """Return what the payloads of a pool must have."""
        named = [key.field.name for key in page.sort] + [facet.field.name for facet in page.facets]
        named += [] if page.group is None else [page.group.name]
        return [self._collection.keys[name] for name in dict.fromkeys(named)]

    def _ranked(self, query: StoreQuery, depth: int, which: Translated) -> list[Hit]:
        """Return the best products.

        A graph that is asked for more finds better ones: what lies beyond its own candidates follows these, so that a
        page is the same whatever is asked for beside it.
        """
        knobs, more = query.knobs, bool(query.own_point)  # it is found too, and left out
        base = max(knobs.k, knobs.ef or self._collection.connection.store.ef)
        found = self._nearest(query, min(depth, base) + more, which)
        if depth > base and len(found) >= base:
            there = {hit.point for hit in found}
            found += [hit for hit in self._nearest(query, K_MAX + more, which) if hit.point not in there]
        found = [hit for hit in found if hit.point != query.own_point]
        return (found if knobs.min_score is None else self._at_least(query, found, np.float32(knobs.min_score)))[:depth]

    def _at_least(self, query: StoreQuery, hits: list[Hit], lowest: np.float32) -> list[Hit]:
        """Return hits whose cosine, as it is answered, is not lower."""
        near = by_id(self._collection, [hit.point for hit in hits if abs(hit.score - lowest) <= TIE_TOLERANCE])
        own = cosines(self._collection, query.vector, near)
        exact = {hit.point: score for hit, score in zip(near, own, strict=True)}
        return [hit for hit in hits if exact.get(hit.point, hit.score) >= lowest]

    def _nearest(self, query: StoreQuery, limit: int, which: Translated) -> list[Hit]:
        wanted = Wanted(limit=limit, which=which, ef=query.knobs.ef, keys=self._keys(query.page))
        (found,) = nearest_each(self._collection, query.vector[None], [wanted])
        return found

    def _places(self, page: Page, hits: Sequence[Hit]) -> NDArray[np.intp]:
        """Return the places of hits as the page has them, one a group."""
        places, attributes = np.arange(len(hits)), self._attributes(hits)
        if page.sort:
            places = sorted_places(page.sort, attributes, places)
        if page.group is not None:
            places = places[first_of_each(page.group, attributes, places)]
        return places

    def _browsed(self, page: Page, k: int, which: Translated) -> tuple[list[Hit], int]:
        """Return the products of a page of everything that passes, and how many there are on all pages.

        Raises:
            DataError: If the page lies too deep, or too many products would have to be sorted.
        """
        total = self._collection.count(which)
        if page.offset > BROWSED_MOST:
            raise DataError(
                f"{OFFSET} must be at most {BROWSED_MOST:,} where a store is browsed, got {page.offset:,}: narrow it "
                "by a filter"
            )
        if page.group is None and not page.sort:
            return in_order(self._collection, Wanted(limit=k, which=which, offset=page.offset)), total
        if total <= SORTED_MOST:
            hits = in_order(self._collection, Wanted(limit=total, which=which, keys=self._keys(page)))
            places = self._places(page, hits)
            number = total if page.group is None else len(places)
            return [hits[place] for place in places[page.offset : page.offset + k].tolist()], number
        if page.group is not None or len(page.sort) > 1 or page.sort[0].field.type != "number":
            raise DataError(
                f"a store sorts or groups at most {SORTED_MOST:,} products without a query, got {total:,} that pass: "
                "narrow them by a filter, or sort by one number"
            )
        return self._by_number(page, k, which), total

    def _by_number(self, page: Page, k: int, which: Translated) -> list[Hit]:
        """Return a page in the order of a number; what has none stands behind, as elsewhere."""
        key = page.sort[0]
        has_none: Translated = translate(Missing(key.field), self._collection.keys)
        has_one = both(which, translate(Not(Missing(key.field)), self._collection.keys))
        there = self._collection.count(has_one)
        first = in_order(
            self._collection,
            Wanted(limit=max(0, min(k, there - page.offset)), which=has_one, offset=page.offset),
            self._collection.keys[key.field.name],
            "desc" if key.is_descending else "asc",
        )
        rest = Wanted(limit=k - len(first), which=both(which, has_none), offset=max(0, page.offset - there))
        return [*first, *in_order(self._collection, rest)]

    def _facets(self, query: StoreQuery, which: Translated, pool: Sequence[Hit]) -> dict[str, Any]:
        """Return the counts of each facet; what the filter says of its own field does not count."""
        page, found = query.page, {}
        own = set() if page.filter is None else {own_field(node) for node in page.filter.nodes}
        for facet in page.facets:
            counted, hits = which, pool
            if facet.field.name in own:
                counted = self._which(page, without=facet.field.name)
                hits = pool if page.browses else self._ranked(query, K_MAX, counted)
            if page.browses:
                found[facet.field.name] = self._counted(facet, counted)
            else:
                found[facet.field.name] = count_facet(facet, self._attributes(hits), np.arange(len(hits)))
        return found

    def _counted(self, facet: Facet, which: Translated) -> dict[str, Any]:
        """Return the counts of a facet among everything that passes.

        Raises:
            DataError: If it has more different values than are counted.
        """
        collection, name = self._collection, facet.field.name
        missing = collection.count(both(which, translate(Missing(facet.field), collection.keys)))
        if facet.field.type == "number":
            return self._ranges(facet, which, missing)
        values = collection.facet(collection.keys[name], which, VALUES_MOST + 1)
        if len(values) > VALUES_MOST:
            raise DataError(
                f"facets.{name} has more than {VALUES_MOST:,} different values among what passes, which a store does "
                "not count: narrow it by a filter"
            )
        return shown_values(facet, value_counts(dict(values), missing))

    def _ranges(self, facet: Facet, which: Translated, missing: int) -> dict[str, Any]:
        collection, keys = self._collection, self._collection.keys
        ends = (-np.inf, *facet.borders, np.inf)
        ranges = []
        for low, high in pairwise(ends):
            inside = translate(All((InRange(facet.field, low, high, high_included=False),)), keys)
            bounds = {name: plain_number(end) for name, end in (("gte", low), ("lt", high)) if np.isfinite(end)}
            ranges.append({**bounds, "count": collection.count(both(which, inside))})
        found: dict[str, Any] = {"ranges": ranges, "missing": missing}
        key = keys[facet.field.name]
        has_one = both(which, translate(Not(Missing(facet.field)), keys))
        for end, direction in (("min", "asc"), ("max", "desc")):
            hits = in_order(collection, Wanted(limit=1, which=has_one, keys=[key]), key, direction)  # type: ignore[arg-type]
            found |= {end: plain_number(float(hits[0].payload[key]))} if hits else {}
        return found

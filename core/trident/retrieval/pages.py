"""Answers one query that has a page: filters, ranks, sorts, groups, counts and cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Rows
from trident.attributes.facets import count_facet
from trident.attributes.filters import own_field
from trident.attributes.ordering import first_of_each, sorted_places
from trident.ranking.legs import Plan, Ranked, Ranker
from trident.retrieval.options import Page
from trident.retrieval.products import Found, Products, Way
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.ruled import Ruled, taken
from trident.retrieval.tensors import K_MAX
from trident.retrieval.words import ranked_details, ranked_query
from trident.stage_times import stage


@dataclass(frozen=True, eq=False)
class PageAnswer:
    """The products of one page, what else is to be said of it, and the way that found them."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    details: dict[str, Any]
    way: Way


@dataclass(frozen=True, eq=False)
class PageQuery:
    """One query: its vector (1, D), knobs with a page, the row of the product that it is like, -1 for none."""

    vector: NDArray[np.float32]
    knobs: SearchKnobs
    page: Page
    own_row: int = -1
    plan: Plan | None = None  # how vectors and words rank it; None: vectors alone do


class PageSearch:
    """Answers queries over products that are searched together.

    Args:
        products: They.
        ranker: By vectors and words; None: no query has a plan.
    """

    def __init__(self, products: Products, ranker: Ranker | None = None) -> None:
        """Keep both."""
        self._products = products
        self._attributes = products.attributes
        self._ranker = ranker

    def answer(self, query: PageQuery, *, threads: int = 1) -> PageAnswer:
        """Return the products of a page."""
        with stage("page"):
            return self._answer(query, threads)

    def _answer(self, query: PageQuery, threads: int) -> PageAnswer:
        page, knobs = query.page, query.knobs
        ruled = Ruled.of(page, self._products, query.own_row)
        permitted = self._permitted(page)
        if page.browses:
            permitted = permitted if ruled is None else ruled.permitted(permitted, None)
            rows, total = self._browsed(page, knobs.k, permitted)
            scores: NDArray[np.float32] = np.zeros(len(rows), dtype=np.float32)
            way: Way = "browse"
            details: dict[str, Any] = {"way": way, "total": total}
        else:
            depth = K_MAX if page.needs_pool else page.offset + knobs.k
            found = self._arranged(query, ruled, depth, permitted, threads)
            places = self._ordered(page, found.rows)[page.offset : page.offset + knobs.k]
            rows, scores, way = found.rows[places], found.scores[places], found.way
            details = {} if page.filter is None else {"way": way}
            if isinstance(found, Ranked):
                details |= ranked_details(found.take(places), knobs)
            permitted = found.rows.astype(np.uint32) if page.facets else permitted  # what facets count
        if ruled is not None:
            details |= ruled.details(rows, query.plan)
        if page.fields:
            details["attributes"] = [self._attributes.of_row(int(row), page.fields) for row in rows]
        if page.facets:
            details["facets"] = self._facets(query, ruled, permitted, threads)
        return PageAnswer(rows, scores, details, way)

    def _permitted(self, page: Page, without: str = "") -> Rows | None:
        """Return the rows that pass the filter, all of it or what it says of other fields; None: all."""
        if page.filter is None:
            return None
        node = page.filter.without(without)
        return self._products.passing(node) if node.nodes else None

    def _all(self, permitted: Rows | None) -> Rows:
        return self._products.rows if permitted is None else permitted

    def _arranged(
        self,
        query: PageQuery,
        ruled: Ruled | None,
        depth: int,
        permitted: Rows | None,
        threads: int,
        without: str = "",  # noqa: ARG002 - the rows that are permitted say it already
    ) -> Found | Ranked:
        """Return the best products by merchandisers' rules.

        Args:
            query: One.
            ruled: What rules do; None: nothing.
            depth: Products that are wanted.
            permitted: Rows that pass the filter; None: all.
            threads: Of a search in the graph.
            without: The field whose condition is left out of the filter; empty: none is.
        """
        if ruled is None:
            best = self._ranked(query, depth, permitted, threads)
        else:
            permitted = ruled.permitted(permitted, depth)
            best = self._ranked(query, ruled.depth(depth, permitted), permitted, threads)
            best = ruled.arranged(best, query.vector, query.knobs.min_score, permitted, query.plan)
        return taken(best, np.arange(min(depth, len(best.rows))))

    def _ranked(self, query: PageQuery, depth: int, permitted: Rows | None, threads: int) -> Found | Ranked:
        """Return the best products, by vectors alone or as the query's plan says, and then all that its legs found.

        A graph that is asked for more finds better ones: what lies beyond its own candidates follows these, so that
        a page is the same whatever is asked for beside it.
        """
        knobs, products = query.knobs, self._products
        if query.plan is not None and self._ranker is not None:
            of_both = ranked_query(query.plan, query.vector, knobs, permitted, threads=threads)
            with stage("fuse"):
                return self._ranker.ranked(of_both, depth)
        more = query.own_row >= 0  # it is found too, and left out
        base = max(knobs.k, knobs.ef or products.ef)
        with stage("dense"):
            found = products.nearest(query.vector, min(depth, base) + more, knobs.ef, permitted, threads=threads)
        if depth > base and len(found.rows) >= base:
            with stage("dense"):
                deep = products.nearest(query.vector, K_MAX + more, knobs.ef, permitted, threads=threads)
            rest = ~np.isin(deep.rows, found.rows)
            rows, scores = np.append(found.rows, deep.rows[rest]), np.append(found.scores, deep.scores[rest])
        else:
            rows, scores = found.rows, found.scores
        kept = rows != query.own_row
        if knobs.min_score is not None:
            kept &= scores >= np.float32(knobs.min_score)
        return Found(rows[kept][:depth], scores[kept][:depth], found.way)

    def _ordered(self, page: Page, rows: NDArray[Any], wanted: int | None = None) -> NDArray[np.intp]:
        """Return the places of rows as the page has them, one a group."""
        places = sorted_places(page.sort, self._attributes, rows, wanted) if page.sort else np.arange(len(rows))
        if page.group is not None:
            places = places[first_of_each(page.group, self._attributes, rows[places])]
        return places

    def _browsed(self, page: Page, k: int, permitted: Rows | None) -> tuple[NDArray[np.int64], int]:
        """Return the rows of a page of everything that passes, and how many there are on all pages."""
        rows, end = self._all(permitted), page.offset + k
        if page.group is None and not page.sort:
            return rows[page.offset : end].astype(np.int64), len(rows)
        places = self._ordered(page, rows, end if page.group is None else None)
        total = len(rows) if page.group is None else len(places)
        return rows[places[page.offset : end]].astype(np.int64), total

    def _facets(self, query: PageQuery, ruled: Ruled | None, counted: Rows | None, threads: int) -> dict[str, Any]:
        """Return the counts of each facet; what the filter says of its own field does not count."""
        page, found = query.page, {}
        own = set() if page.filter is None else {own_field(node) for node in page.filter.nodes}
        for facet in page.facets:
            rows, name = counted, facet.field.name
            if name in own:
                rows = self._permitted(page, without=name)
                if page.browses:
                    rows = rows if ruled is None else ruled.permitted(rows, None)
                else:
                    rows = self._arranged(query, ruled, K_MAX, rows, threads, name).rows.astype(np.uint32)
            found[name] = count_facet(facet, self._attributes, self._all(rows))
        return found

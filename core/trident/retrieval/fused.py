"""Answers queries whose order vectors and words make together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trident.ranking.legs import Nearest, Plan, Ranker
from trident.retrieval.pages import PageAnswer, PageSearch
from trident.retrieval.products import Products
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.words import ProductLegs, Words, ranked_details, ranked_query
from trident.stage_times import stage

Plans = Sequence[Plan | None]


class FusedSearch:
    """Searches products by vectors and words, at one moment.

    Args:
        products: They.
        words: What their generation knows of words; None: they are found by vectors alone.
        pages: Answers queries that have a page.
    """

    def __init__(self, products: Products, words: Words | None, pages: type[PageSearch] = PageSearch) -> None:
        """Put the legs together."""
        self.products = products
        self.ranker: Ranker | None = None
        self._words, self._lexical = words, products.lexical
        if words is not None and products.lexical is not None:
            self.ranker = Ranker(ProductLegs(products, products.lexical), words.settings.depth)
        self.pages = pages(products, self.ranker)

    def plan(self, knob: SearchKnobs) -> Plan | None:
        """Return how a query is ranked where there is more to it than its vector; None: there is not."""
        if self._words is None or self._lexical is None:
            return None
        return self._words.plan(knob, self._lexical)

    def fused(
        self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], plans: Plans, *, threads: int = 1
    ) -> dict[int, PageAnswer]:
        """Return the answers, by row, to those of B queries that have a plan and no page.

        The vectors of all are searched together; what is found is what each finds alone.

        Args:
            embeddings: (B, D) float32, unit length.
            knobs: B of them.
            plans: B, None for a query that vectors alone answer.
            threads: Of a search in the graph.
        """
        chosen = {
            row: plan
            for row, (knob, plan) in enumerate(zip(knobs, plans, strict=True))
            if plan is not None and knob.page is None
        }
        if not chosen:
            return {}
        assert self.ranker is not None
        found = self._dense_legs(embeddings, knobs, [row for row, plan in chosen.items() if plan.runs_dense], threads)
        answers = {}
        for row, plan in chosen.items():
            query = ranked_query(plan, embeddings[row : row + 1], knobs[row], threads=threads)
            with stage("fuse"):
                ranked = self.ranker.ranked(query, knobs[row].k, found.get(row))
            shown = ranked.take(np.arange(min(knobs[row].k, len(ranked.rows))))
            answers[row] = PageAnswer(shown.rows, shown.scores, ranked_details(shown, knobs[row]), shown.way)
        return answers

    def _dense_legs(
        self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], rows: list[int], threads: int
    ) -> dict[int, Nearest]:
        """Return what the vectors find for each query, to the fixed depth."""
        if not rows:
            return {}
        assert self._words is not None
        depths, efs = [self._words.settings.depth] * len(rows), [knobs[row].ef for row in rows]
        with stage("dense"):
            found, ways = self.products.nearest_each(embeddings[rows], depths, efs, threads=threads)
        return {
            row: Nearest(found.rows[line, :count], found.scores[line, :count], ways[line])
            for line, (row, count) in enumerate(zip(rows, found.count.tolist(), strict=True))
        }

"""The words of a generation: its lexical index, its spelling, and how both are used."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Rows
from trident.data.catalogue import CATALOGUE_FILE
from trident.lexical.files import ARRAYS_FILE, RECORD_FILE, load_lexical
from trident.lexical.index import LexicalIndex, LexicalQuery
from trident.lexical.spelling import KNOWN_WORDS_FILE, NO_COUNTS, Spelling, load_known
from trident.ranking.legs import Nearest, Plan, Ranked, RankedQuery
from trident.ranking.settings import DENSE, RANKING_FILE, RankingSettings
from trident.retrieval.products import Lexical, Products
from trident.retrieval.requests import SearchKnobs
from trident.stage_times import stage

WORD_FILES = (ARRAYS_FILE, RECORD_FILE, KNOWN_WORDS_FILE, RANKING_FILE)  # of a retriever's folder
NO_WORDS = LexicalQuery((), {})


@dataclass(frozen=True, eq=False)
class Words:
    """What a generation knows of words; ``load`` it."""

    lexical: LexicalIndex
    spelling: Spelling
    settings: RankingSettings = DENSE

    @classmethod
    def load(cls, folder: Path) -> Words | None:
        """Return the words of a retriever's version folder; None where it has no lexical index.

        Raises:
            VectorIndexError: If the lexical index is damaged, of another catalogue or of another analyzer.
            GenerationError: If its settings are missing or damaged.
        """
        if not (folder / RECORD_FILE).is_file():
            return None
        lexical = load_lexical(folder, folder / CATALOGUE_FILE)
        return cls(lexical, Spelling(lexical, load_known(folder)), RankingSettings.load(folder))

    def spelled(
        self, knob: SearchKnobs, more: Mapping[str, int] = NO_COUNTS, forms: Container[str] = frozenset()
    ) -> SearchKnobs:
        """Return knobs that say what their text means, where words of it are corrected.

        Args:
            knob: Of a query.
            more: Words of products that came since, by how many have them.
            forms: The stems of these.
        """
        if not (knob.ranking.spelling and knob.is_words and self._asked(knob).intersection(self.settings.spelling)):
            return knob
        found = self.spelling.corrected(knob.text, more, forms)
        return knob if found is None else replace(knob, corrected=found)

    def _asked(self, knob: SearchKnobs) -> set[str]:
        """Return the legs that a query is searched by."""
        mode = knob.ranking.mode_of(self.settings)
        if mode == "hybrid":
            return {"dense"} if self.settings.weight == 0 else {"dense", "lexical"}
        return {mode}

    def text_for(self, leg: str, knob: SearchKnobs) -> str:
        """Return the text that a leg is asked with."""
        return knob.corrected if knob.corrected is not None and leg in self.settings.spelling else knob.text

    def plan(self, knob: SearchKnobs, lexical: Lexical) -> Plan | None:
        """Return how a query is ranked where there is more to it than its vector; None: there is not.

        Args:
            knob: Its knobs.
            lexical: The words of what is searched.
        """
        settings = self.settings
        mode = knob.ranking.mode_of(settings)
        if not knob.is_words or (mode == "dense" and not knob.ranking.explain):
            return None
        if mode == "dense":
            return Plan(query=NO_WORDS, weight=0.0, runs_dense=True, runs_lexical=False)
        text = self.text_for("lexical", knob)
        if knob.page is not None and knob.page.effect is not None:  # merchandisers' synonyms
            text = " ".join([text, *knob.page.effect.added])
        runs_lexical = mode == "lexical" or settings.weight != 0
        with stage("lexical"):
            query = lexical.query(text) if runs_lexical else LexicalQuery((), lexical.codes(text))
        if not (runs_lexical or query.codes or knob.ranking.explain):
            return None
        weight = 1.0 if mode == "lexical" else settings.weight
        return Plan(query=query, weight=weight, runs_dense=mode != "lexical", runs_lexical=runs_lexical)


class ProductLegs:
    """The legs of products that are searched together.

    Args:
        products: They.
        lexical: Their words.
    """

    def __init__(self, products: Products, lexical: Lexical) -> None:
        """Keep both."""
        self._products = products
        self.vectors, self.sums = products.vectors, lexical.sums

    def nearest(self, query: RankedQuery, k: int) -> Nearest:
        """Return the k products nearest to a query among those that it permits."""
        with stage("dense"):
            found = self._products.nearest(query.vector, k, query.ef, query.permitted, threads=query.threads)
        return Nearest(found.rows, found.scores, found.way)


def ranked_query(
    plan: Plan, vector: NDArray[np.float32], knob: SearchKnobs, permitted: Rows | None = None, *, threads: int = 1
) -> RankedQuery:
    """Return a query with its knobs in the form in which it is ranked; see ``RankedQuery``."""
    return RankedQuery(
        plan=plan, vector=vector, ef=knob.ef, min_score=knob.min_score, permitted=permitted, threads=threads
    )


def ranked_details(ranked: Ranked, knob: SearchKnobs) -> dict[str, Any]:
    """Return what is to be said of products that are shown: their parts, where asked for, and legs of another depth."""
    details: dict[str, Any] = {"explain": ranked.explained()} if knob.ranking.explain else {}
    return details | ({"depth": ranked.depth} if ranked.depth else {})

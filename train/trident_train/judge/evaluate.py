"""Judges an encoder on labelled pairs, with random and BM25 rows beside it.

trident evaluate runs/demo --pairs pairs.csv --catalogue products.csv --json
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.index.exact_search import exact_search
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.postings import Bm25
from trident.quality.metrics import CatalogueQuality, JudgedQuality, catalogue_quality, judged_quality

if TYPE_CHECKING:  # figures need no PyTorch
    from trident_train.model.encoder import Encoder

DEPTH = 100  # products found for each query in a whole catalogue
RANDOM_SEED = 0
CLASSIC = LexicalConfig(bm25=Bm25(k1=1.5, b=0.75))  # what most engines come with

Scores = NDArray[np.float32]
Found = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm of the table: what ranked, and how well. ``data`` is empty where there is one source only."""

    name: str
    judged: JudgedQuality
    catalogue: CatalogueQuality | None = None
    data: str = ""


@dataclass(frozen=True)
class Ranking:
    """What an arm says of P pairs.

    Attributes:
        scores: (P,) float32 of each pair, higher is more relevant.
        found: The best products of the whole catalogue for each distinct query; None without a catalogue.
    """

    scores: Scores
    found: Found | None = None

    def row(self, name: str, pairs: Pairs, catalogue: Catalogue | None = None, *, data: str = "") -> Row:
        """Return the quality of the ranking as a row of the table."""
        whole = None
        if self.found is not None and catalogue is not None:
            whole = catalogue_quality(pairs, self.found, products=len(catalogue))
        return Row(name=name, judged=judged_quality(pairs, self.scores), catalogue=whole, data=data)


def rank_encoder(
    encoder: Encoder,
    pairs: Pairs,
    catalogue: Catalogue | None = None,
    *,
    products: NDArray[np.float32] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ranking:
    """Return the cosines of an encoder.

    Args:
        encoder: The encoder.
        pairs: Held-out pairs.
        catalogue: When given, every query also searches it exactly.
        products: (N, D) embeddings of the catalogue, where they are there already.
        progress: Called with the number of texts embedded.
    """
    queries = encoder.embed(pairs.queries, "query", progress=progress)  # (P, D)
    titles = encoder.embed(pairs.titles, "product", progress=progress)  # (P, D)
    scores = np.einsum("pd,pd->p", queries, titles)
    if catalogue is None:
        return Ranking(scores)
    if products is None:
        products = encoder.embed(catalogue.titles, "product", progress=progress)  # (N, D)
    first = {query: row for row, query in reversed(list(enumerate(pairs.queries)))}
    hits = exact_search(products, queries[list(first.values())], min(DEPTH, len(catalogue)))
    found = {
        query: [(catalogue.product_ids[row], score) for row, score in zip(rows, row_scores, strict=True)]
        for query, rows, row_scores in zip(first, hits.rows.tolist(), hits.scores.tolist(), strict=True)
    }
    return Ranking(scores, found)


def rank_random(pairs: Pairs, catalogue: Catalogue | None = None) -> Ranking:
    """Return scores drawn at random (seeded): the floor of every measure."""
    generator = np.random.default_rng(RANDOM_SEED)
    scores = generator.random(len(pairs), dtype=np.float32)
    if catalogue is None:
        return Ranking(scores)
    found: Found = {}
    for query in dict.fromkeys(pairs.queries):
        rows = generator.choice(len(catalogue), size=min(DEPTH, len(catalogue)), replace=False).tolist()
        found[query] = [(catalogue.product_ids[row], -float(rank)) for rank, row in enumerate(rows)]
    return Ranking(scores, found)


def rank_bm25(pairs: Pairs, catalogue: Catalogue | None = None, config: LexicalConfig = CLASSIC) -> Ranking:
    """Return the scores of BM25 over titles, the classic to beat, by the analyzer and the index that serve.

    Args:
        pairs: Held-out pairs.
        catalogue: When given, every query also searches it.
        config: Of tokens and scores.
    """
    titles = list(dict.fromkeys(pairs.titles))
    position = {title: number for number, title in enumerate(titles)}
    of_pairs = LexicalIndex.build(titles, config)
    queries = list(dict.fromkeys(pairs.queries))
    by_query = {query: of_pairs.sums(of_pairs.query(query)).scores for query in queries}
    scores = np.array(
        [by_query[query][position[title]] for query, title in zip(pairs.queries, pairs.titles, strict=True)],
        dtype=np.float32,
    )
    if catalogue is None:
        return Ranking(scores)
    whole, found = LexicalIndex.build(catalogue.titles, config), {}
    for query in queries:
        rows, values = whole.search(query, DEPTH)
        found[query] = [
            (catalogue.product_ids[row], value) for row, value in zip(rows.tolist(), values.tolist(), strict=True)
        ]
    return Ranking(scores, found)

"""Judges an encoder on labelled pairs, with random and BM25 rows beside it.

trident evaluate runs/demo --pairs pairs.csv --catalogue products.csv --json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.index.exact_search import exact_search
from trident.quality.metrics import CatalogueQuality, JudgedQuality, catalogue_quality, judged_quality
from trident_train.data.lexical import load_bm25s

if TYPE_CHECKING:  # figures need no PyTorch
    from trident_train.model.encoder import Encoder

DEPTH = 100  # products found for each query in a whole catalogue
RANDOM_SEED = 0

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
    progress: Callable[[int], None] | None = None,
) -> Ranking:
    """Return the cosines of an encoder.

    Args:
        encoder: The encoder.
        pairs: Held-out pairs.
        catalogue: When given, every query also searches it exactly.
        progress: Called with the number of texts embedded.
    """
    queries = encoder.embed(pairs.queries, "query", progress=progress)  # (P, D)
    titles = encoder.embed(pairs.titles, "product", progress=progress)  # (P, D)
    scores = np.einsum("pd,pd->p", queries, titles)
    if catalogue is None:
        return Ranking(scores)
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


def rank_bm25(pairs: Pairs, catalogue: Catalogue | None = None) -> Ranking:
    """Return the scores of BM25 over titles (English stop words removed), the classic to beat.

    Source: Robertson's BM25 as in bm25s (its default, Lucene's variant, k1 1.5, b 0.75).
    """
    titles = list(dict.fromkeys(pairs.titles))
    position = {title: number for number, title in enumerate(titles)}
    by_query = _bm25_scores(titles, list(dict.fromkeys(pairs.queries)))
    scores = np.array(
        [by_query[query][position[title]] for query, title in zip(pairs.queries, pairs.titles, strict=True)],
        dtype=np.float32,
    )
    if catalogue is None:
        return Ranking(scores)
    found: Found = {}
    for query, values in _bm25_scores(catalogue.titles, list(by_query)).items():
        rows = np.argsort(-values, kind="stable")[:DEPTH].tolist()
        found[query] = [(catalogue.product_ids[row], float(values[row])) for row in rows if values[row] > 0]
    return Ranking(scores, found)


def _bm25_scores(titles: Sequence[str], queries: Sequence[str]) -> dict[str, Scores]:
    bm25s = load_bm25s()
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(titles), stopwords="en", show_progress=False), show_progress=False)
    scores = {}
    for query in queries:
        tokens = bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0]
        scores[query] = (
            index.get_scores(tokens).astype(np.float32) if tokens else np.zeros(len(titles), dtype=np.float32)
        )
    return scores

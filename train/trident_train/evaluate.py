"""Judges an encoder on labelled pairs, with random and BM25 rows beside it.

trident evaluate runs/demo --pairs pairs.csv --catalogue products.csv --json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
from numpy.typing import NDArray

from trident.catalogue import Catalogue
from trident.exact_search import exact_search
from trident.metrics import CatalogueQuality, JudgedQuality, catalogue_quality, judged_quality
from trident.pairs import Pairs
from trident_train.encoder import Encoder

DEPTH = 100  # products found for each query in a whole catalogue
RANDOM_SEED = 0

Scores = NDArray[np.float32]
Found = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm of the table: what ranked, and how well."""

    name: str
    judged: JudgedQuality
    catalogue: CatalogueQuality | None = None


def evaluate_encoder(
    name: str,
    encoder: Encoder,
    pairs: Pairs,
    catalogue: Catalogue | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Row:
    """Return the quality of an encoder's cosine.

    Args:
        name: Of the row.
        encoder: The encoder.
        pairs: Held-out pairs.
        catalogue: When given, every query also searches it exactly.
        progress: Called with the number of texts embedded.
    """
    queries = encoder.embed(pairs.queries, "query", progress=progress)  # (P, D)
    titles = encoder.embed(pairs.titles, "product", progress=progress)  # (P, D)
    scores = np.einsum("pd,pd->p", queries, titles)
    if catalogue is None:
        return Row(name=name, judged=judged_quality(pairs, scores))
    products = encoder.embed(catalogue.titles, "product", progress=progress)  # (N, D)
    distinct = list(dict.fromkeys(pairs.queries))
    found = exact_search(products, encoder.embed(distinct, "query", progress=progress), min(DEPTH, len(catalogue)))
    hits = {
        query: [(catalogue.product_ids[row], score) for row, score in zip(rows, row_scores, strict=True)]
        for query, rows, row_scores in zip(distinct, found.rows.tolist(), found.scores.tolist(), strict=True)
    }
    return _row(name, pairs, scores, hits, catalogue)


def evaluate_random(pairs: Pairs, catalogue: Catalogue | None = None) -> Row:
    """Return the quality of scores drawn at random (seeded): the floor of every measure."""
    generator = np.random.default_rng(RANDOM_SEED)
    scores = generator.random(len(pairs), dtype=np.float32)
    if catalogue is None:
        return Row(name="random", judged=judged_quality(pairs, scores))
    hits: Found = {}
    for query in dict.fromkeys(pairs.queries):
        rows = generator.choice(len(catalogue), size=min(DEPTH, len(catalogue)), replace=False).tolist()
        hits[query] = [(catalogue.product_ids[row], -float(rank)) for rank, row in enumerate(rows)]
    return _row("random", pairs, scores, hits, catalogue)


def evaluate_bm25(pairs: Pairs, catalogue: Catalogue | None = None) -> Row:
    """Return the quality of BM25 over titles (English stop words removed), the classic to beat.

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
        return Row(name="BM25", judged=judged_quality(pairs, scores))
    hits: Found = {}
    for query, values in _bm25_scores(catalogue.titles, list(by_query)).items():
        rows = np.argsort(-values, kind="stable")[:DEPTH].tolist()
        hits[query] = [(catalogue.product_ids[row], float(values[row])) for row in rows if values[row] > 0]
    return _row("BM25", pairs, scores, hits, catalogue)


def _row(name: str, pairs: Pairs, scores: Scores, hits: Found, catalogue: Catalogue) -> Row:
    return Row(
        name=name,
        judged=judged_quality(pairs, scores),
        catalogue=catalogue_quality(pairs, hits, products=len(catalogue)),
    )


def _bm25_scores(titles: Sequence[str], queries: Sequence[str]) -> dict[str, Scores]:
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(titles), stopwords="en", show_progress=False), show_progress=False)
    scores = {}
    for query in queries:
        tokens = bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0]
        scores[query] = (
            index.get_scores(tokens).astype(np.float32) if tokens else np.zeros(len(titles), dtype=np.float32)
        )
    return scores

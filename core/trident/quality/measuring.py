"""Quality of the exported parts on the run's held-out pairs, through the graph and the index that will serve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.config import to_table
from trident.data.pairs import Pairs
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.quality.generation_scores import ranked_hits
from trident.quality.metrics import catalogue_quality, judged_quality
from trident.search.searcher import Searcher

DEPTH = 100  # products found for each query


def measure_quality(pairs: Pairs, searcher: Searcher) -> dict[str, Any]:
    """Return ``judged`` and, where the catalogue holds judged relevant products, ``catalogue`` quality, as served.

    Args:
        pairs: Pairs of queries that were not trained on.
        searcher: The exported parts.
    """
    scores = pair_scores(pairs, searcher.encoder, searcher.tokenizer)
    quality: dict[str, Any] = {"judged": to_table(judged_quality(pairs, scores))}
    relevant = {product for product, label in zip(pairs.product_ids, pairs.labels, strict=True) if label}
    ids = searcher.retriever.product_ids
    if ids.rows_of(relevant):
        hits = ranked_hits(searcher, list(dict.fromkeys(pairs.queries)), min(DEPTH, len(ids)))
        quality["catalogue"] = to_table(catalogue_quality(pairs, hits, products=len(ids)))
    return quality


def pair_scores(pairs: Pairs, encoder: ServedEncoder, tokenizer: TextTokenizer) -> NDArray[np.float32]:
    """Return the cosine (P,) of each pair's query and title; every text is embedded once."""
    queries, titles = list(dict.fromkeys(pairs.queries)), list(dict.fromkeys(pairs.titles))
    query_row = {query: row for row, query in enumerate(queries)}
    title_row = {title: row for row, title in enumerate(titles)}
    scores: NDArray[np.float32] = np.einsum(
        "pd,pd->p",
        _embed(encoder, tokenizer, queries, "query")[[query_row[query] for query in pairs.queries]],
        _embed(encoder, tokenizer, titles, "product")[[title_row[title] for title in pairs.titles]],
    )
    return scores


def _embed(encoder: ServedEncoder, tokenizer: TextTokenizer, texts: list[str], side: Any) -> NDArray[np.float32]:
    return encoder.embed_ids(tokenizer.token_ids(texts, side), pad_id=tokenizer.pad_id)

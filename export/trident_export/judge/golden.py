"""The stage that asks the golden queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trident.data.catalogue import Catalogue
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.generation.golden import GOLDEN_K, GoldenAnswer
from trident.index.index import Neighbours, VectorIndex
from trident.ranking.reranking import Reranker, Task, reranked_order


def golden_answers(
    queries: Sequence[str],
    encoder: ServedEncoder,
    tokenizer: TextTokenizer,
    index: VectorIndex,
    catalogue: Catalogue,
    *,
    k: int = GOLDEN_K,
) -> list[GoldenAnswer]:
    """Return the answers of the exported parts to queries, at the default ef, as the server computes them."""
    rows = tokenizer.token_ids(queries, "query")
    found: Neighbours = index.search(encoder.embed_ids(rows, pad_id=tokenizer.pad_id), k)
    return [
        GoldenAnswer(
            query=query,
            product_ids=[catalogue.product_ids[row] for row in found.rows[number, : found.count[number]]],
            scores=np.round(found.scores[number, : found.count[number]], 6).tolist(),
        )
        for number, query in enumerate(queries)
    ]


def reranked_answers(
    candidates: Sequence[GoldenAnswer], reranker: Reranker, catalogue: Catalogue, reranked: int
) -> list[GoldenAnswer]:
    """Return the best answers of a second stage among candidates; each product keeps its cosine.

    Args:
        candidates: Of the first stage, as many as the server takes.
        reranker: Scores pairs.
        catalogue: Has their titles.
        reranked: Candidates that are put in order.
    """
    ids = {product for answer in candidates for product in answer.product_ids}
    rows = catalogue.texts[0].rows_of(ids)
    tasks = [
        Task(answer.query, [catalogue.titles[rows[product]] for product in answer.product_ids[:reranked]])
        for answer in candidates
    ]
    answers = []
    for answer, logits in zip(candidates, reranker.score(tasks), strict=True):
        places = reranked_order(logits, len(answer.product_ids))[:GOLDEN_K].tolist()
        answers.append(
            GoldenAnswer(
                query=answer.query,
                product_ids=[answer.product_ids[place] for place in places],
                scores=[answer.scores[place] for place in places],
            )
        )
    return answers

"""The stage that asks the golden queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trident.data.catalogue import Catalogue
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.generation.golden import GOLDEN_K, GoldenAnswer
from trident.index.index import Neighbours, VectorIndex


def golden_answers(
    queries: Sequence[str], encoder: ServedEncoder, tokenizer: TextTokenizer, index: VectorIndex, catalogue: Catalogue
) -> list[GoldenAnswer]:
    """Return the answers of the exported parts to queries, at the default k and ef, as the server computes them."""
    rows = tokenizer.token_ids(queries, "query")
    found: Neighbours = index.search(encoder.embed_ids(rows, pad_id=tokenizer.pad_id), GOLDEN_K)
    return [
        GoldenAnswer(
            query=query,
            product_ids=[catalogue.product_ids[row] for row in found.rows[number, : found.count[number]]],
            scores=np.round(found.scores[number, : found.count[number]], 6).tolist(),
        )
        for number, query in enumerate(queries)
    ]

"""Golden queries: what this generation answered when it was exported; promotion and health checks ask them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trident.catalogue import Catalogue
from trident.encoder import OnnxEncoder
from trident.index import Neighbours, VectorIndex
from trident.tokenization import TextTokenizer

GOLDEN_K = 10


@dataclass(frozen=True, kw_only=True)
class GoldenAnswer:
    """A query with the best products, best first, and their cosines."""

    query: str
    product_ids: list[str]
    scores: list[float]


def golden_answers(
    queries: Sequence[str], encoder: OnnxEncoder, tokenizer: TextTokenizer, index: VectorIndex, catalogue: Catalogue
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


def save_golden(answers: Sequence[GoldenAnswer], path: Path) -> None:
    """Write golden answers as JSON."""
    text = json.dumps([asdict(answer) for answer in answers], indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")

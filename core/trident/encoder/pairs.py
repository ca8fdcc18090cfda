"""Pairs of texts: a query and a product's title in one row of tokens, for a reranker that reads both at once.

The row is the query's tokens followed by the product's without their first special token: BERT's ``[CLS] query [SEP]
title [SEP]``. Each side is cut to its own length by the text contract before they are joined, so that a long title
leaves the query whole. Training, export and serving join by this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer

TOKEN_TYPE_IDS = "token_type_ids"  # noqa: S105 - INT64 (B, L), 0 for the query and for padding, 1 for the product


@dataclass(frozen=True)
class PairRow:
    """One pair: token ids, and how many of them are the query's."""

    ids: list[int]
    query_tokens: int

    def types(self, kinds: int) -> list[int]:
        """Return the type of each token: 0 of the query, 1 of the product where a model knows ``kinds`` of two."""
        product = min(1, kinds - 1)
        return [0] * self.query_tokens + [product] * (len(self.ids) - self.query_tokens)


@dataclass(frozen=True)
class PairBatch:
    """N pairs, padded: each (N, L) int64, ``attention_mask`` 1 for a token and 0 for padding."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]


def join_pair(query: Sequence[int], product: Sequence[int]) -> PairRow:
    """Return the row of a query's and a product's token ids, both with special tokens."""
    return PairRow([*query, *product[1:]], len(query))


def pair_rows(tokenizer: TextTokenizer, queries: Sequence[str], titles: Sequence[str]) -> list[PairRow]:
    """Return the rows of N queries and the N titles beside them; a text that stands there twice is tokenized once.

    Raises:
        DataError: If a text is empty.
    """
    of_query = _ids_by_text(tokenizer, queries, is_query=True)
    of_title = _ids_by_text(tokenizer, titles, is_query=False)
    return [join_pair(of_query[query], of_title[title]) for query, title in zip(queries, titles, strict=True)]


def longest_pair(contract: TextContract) -> int:
    """Return the most tokens that a pair can have."""
    return contract.query_max_tokens + contract.product_max_tokens - 1


def pad_pairs(rows: Sequence[PairRow], *, pad_id: int, kinds: int = 2) -> PairBatch:
    """Return rows as one batch.

    Args:
        rows: N pairs.
        pad_id: Fills up.
        kinds: Of tokens that the model knows; 1: all are of type 0.
    """
    length = max(len(row.ids) for row in rows)
    shape = (len(rows), length)
    batch = PairBatch(np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    for number, row in enumerate(rows):
        own = len(row.ids)
        batch.input_ids[number, :own] = row.ids
        batch.attention_mask[number, :own] = 1
        batch.token_type_ids[number, :own] = row.types(kinds)
    return batch


def _ids_by_text(tokenizer: TextTokenizer, texts: Sequence[str], *, is_query: bool) -> dict[str, list[int]]:
    distinct = list(dict.fromkeys(texts))
    rows = tokenizer.token_ids(distinct, "query" if is_query else "product") if distinct else []
    return dict(zip(distinct, rows, strict=True))

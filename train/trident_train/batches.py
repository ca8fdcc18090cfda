"""Pairs to batches of token ids: every distinct text is tokenised once and stands once in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trident.errors import DataError
from trident.pairs import Pairs
from trident.tokenization import TextTokenizer
from trident_train.losses import EmbeddedBatch
from trident_train.recipe import LossRecipe


@dataclass(frozen=True)
class TokenizedPairs:
    """P pairs over distinct texts.

    ``query_rows`` and ``product_rows`` hold the token ids of the distinct texts, ``pair_query`` and ``pair_product``
    (P,) int64 point into them, ``labels`` is (P,) float32, ``positives`` the set of (query, product) called relevant.
    """

    query_rows: list[list[int]]
    product_rows: list[list[int]]
    pair_query: NDArray[np.int64]
    pair_product: NDArray[np.int64]
    labels: NDArray[np.float32]
    positives: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class TokenizedBatch:
    """N pairs over the Q distinct queries and P distinct products of a batch; see ``losses.EmbeddedBatch``."""

    query_rows: list[list[int]]
    product_rows: list[list[int]]
    pair_query: Tensor
    pair_product: Tensor
    labels: Tensor
    positives: Tensor

    def embedded(self, queries: Tensor, products: Tensor) -> EmbeddedBatch:
        """Return what the loss sees, on the device of the embeddings."""
        device = queries.device
        return EmbeddedBatch(
            queries=queries,
            products=products,
            pair_query=self.pair_query.to(device),
            pair_product=self.pair_product.to(device),
            labels=self.labels.to(device),
            positives=self.positives.to(device),
        )


def tokenize_pairs(pairs: Pairs, tokenizer: TextTokenizer) -> TokenizedPairs:
    """Return the pairs over distinct token ids: texts that the tokenizer cannot tell apart are one text."""
    query_rows, pair_query = _distinct(tokenizer.token_ids(pairs.queries, "query"))
    product_rows, pair_product = _distinct(tokenizer.token_ids(pairs.titles, "product"))
    relevant = pairs.labels == 1
    return TokenizedPairs(
        query_rows=query_rows,
        product_rows=product_rows,
        pair_query=pair_query,
        pair_product=pair_product,
        labels=pairs.labels.astype(np.float32),
        positives=frozenset(zip(pair_query[relevant].tolist(), pair_product[relevant].tolist(), strict=True)),
    )


def epoch_pairs(pairs: TokenizedPairs, loss: LossRecipe, *, seed: int, epoch: int) -> list[list[int]]:
    """Return the shuffled units of an epoch; a unit is a list of pair numbers that stay in one batch.

    The cosine loss takes each pair as a unit. InfoNCE takes each relevant pair with ``hard_negatives`` labelled
    negatives of its query, drawn anew each epoch.

    Raises:
        DataError: If InfoNCE is asked for and no pair is relevant.
    """
    generator = np.random.default_rng([seed, epoch])
    if loss.name == "cosine":
        units = [[number] for number in range(len(pairs.labels))]
    else:
        relevant = np.flatnonzero(pairs.labels == 1)
        if not relevant.size:
            raise DataError("infonce needs relevant pairs, got none in the train split: use the cosine loss")
        negatives: dict[int, list[int]] = {}
        for number in np.flatnonzero(pairs.labels == 0).tolist():
            negatives.setdefault(int(pairs.pair_query[number]), []).append(number)
        units = []
        for number in relevant.tolist():
            known = negatives.get(int(pairs.pair_query[number]), [])
            count = min(loss.hard_negatives, len(known))
            units.append([number, *generator.choice(known, size=count, replace=False).tolist()] if count else [number])
    return [units[position] for position in generator.permutation(len(units))]


def batches(pairs: TokenizedPairs, units: list[list[int]], batch_size: int) -> Iterator[TokenizedBatch]:
    """Yield the batches of an epoch, ``batch_size`` units each; the last may be smaller."""
    for start in range(0, len(units), batch_size):
        numbers = [number for unit in units[start : start + batch_size] for number in unit]
        yield _batch(pairs, np.array(numbers, dtype=np.int64))


def _distinct(rows: list[list[int]]) -> tuple[list[list[int]], NDArray[np.int64]]:
    numbers: dict[tuple[int, ...], int] = {}
    positions = [numbers.setdefault(tuple(row), len(numbers)) for row in rows]
    return [list(row) for row in numbers], np.array(positions, dtype=np.int64)


def _batch(pairs: TokenizedPairs, numbers: NDArray[np.int64]) -> TokenizedBatch:
    queries, pair_query = np.unique(pairs.pair_query[numbers], return_inverse=True)
    products, pair_product = np.unique(pairs.pair_product[numbers], return_inverse=True)
    positives = np.array(
        [[(query, product) in pairs.positives for product in products.tolist()] for query in queries.tolist()]
    )
    return TokenizedBatch(
        query_rows=[pairs.query_rows[number] for number in queries],
        product_rows=[pairs.product_rows[number] for number in products],
        pair_query=torch.from_numpy(pair_query),
        pair_product=torch.from_numpy(pair_product),
        labels=torch.from_numpy(pairs.labels[numbers]),
        positives=torch.from_numpy(positives),
    )

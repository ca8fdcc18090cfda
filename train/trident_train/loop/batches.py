"""Pairs to batches of token ids: every distinct text is tokenised once and stands once in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trident.data.pairs import Pairs
from trident.encoder.text import Side
from trident.encoder.tokenization import TextTokenizer
from trident.errors import DataError
from trident_train.losses import EmbeddedBatch
from trident_train.recipe import LossRecipe, OptimizerRecipe

UNJUDGED = -1.0  # the label of a mined negative: nobody said that it is irrelevant


@dataclass(frozen=True)
class TokenizedPairs:
    """P pairs over distinct texts.

    Attributes:
        query_rows: Token ids of the distinct queries.
        product_rows: Token ids of the distinct product titles.
        pair_query: (P,) int64 into ``query_rows``.
        pair_product: (P,) int64 into ``product_rows``.
        labels: (P,) float32, 1 and 0, ``UNJUDGED`` for mined negatives.
        grades: (P,) float32, 0 to 1, as a share of the largest grade, 0 for mined negatives; or a teacher's logits.
        positives: Every (query, product) called relevant; what a query was made of is not.
        repeat: Times that these pairs stand in an epoch.
    """

    query_rows: list[list[int]]
    product_rows: list[list[int]]
    pair_query: NDArray[np.int64]
    pair_product: NDArray[np.int64]
    labels: NDArray[np.float32]
    grades: NDArray[np.float32]
    positives: frozenset[tuple[int, int]]
    repeat: int = 1


@dataclass(frozen=True)
class TokenizedBatch:
    """N pairs over the Q distinct queries and P distinct products of a batch; see ``losses.EmbeddedBatch``."""

    query_rows: list[list[int]]
    product_rows: list[list[int]]
    pair_query: Tensor
    pair_product: Tensor
    labels: Tensor
    grades: Tensor
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
            grades=self.grades.to(device),
            positives=self.positives.to(device),
        )


@dataclass(frozen=True)
class BatchPlan:
    """One batch before its texts are gathered: which pairs of which source."""

    source: int
    pairs: tuple[int, ...]


def tokenize_pairs(
    pairs: Pairs,
    tokenizer: TextTokenizer,
    *,
    mined: Sequence[tuple[int, str]] = (),
    repeat: int = 1,
    made: int = 0,
) -> TokenizedPairs:
    """Return the pairs over distinct token ids: texts that the tokenizer cannot tell apart are one text.

    Args:
        pairs: The judged pairs.
        tokenizer: With the text contract.
        mined: (row of a pair, title): unjudged negatives of that pair's query.
        repeat: Times that the pairs stand in an epoch.
        made: So many pairs at the end are of made queries: they start lists, and nobody called them relevant.
    """
    queries = pairs.queries + [pairs.queries[row] for row, _ in mined]
    titles = pairs.titles + [title for _, title in mined]
    query_rows, pair_query = _distinct(tokenizer, queries, "query")
    product_rows, pair_product = _distinct(tokenizer, titles, "product")
    relevant = np.flatnonzero(pairs.labels[: len(pairs) - made] == 1).tolist()
    shares = pairs.grades.astype(np.float32) / max(float(pairs.grades.max(initial=0.0)), 1e-9)
    return TokenizedPairs(
        query_rows=query_rows,
        product_rows=product_rows,
        pair_query=pair_query,
        pair_product=pair_product,
        labels=np.concatenate([pairs.labels.astype(np.float32), np.full(len(mined), UNJUDGED, dtype=np.float32)]),
        grades=np.concatenate([shares, np.zeros(len(mined), dtype=np.float32)]),
        positives=frozenset((int(pair_query[row]), int(pair_product[row])) for row in relevant),
        repeat=repeat,
    )


def plan_epoch(
    sources: Sequence[TokenizedPairs],
    loss: LossRecipe,
    optimizer: OptimizerRecipe,
    *,
    seed: int,
    epoch: int,
    mined: int = 0,
) -> list[BatchPlan]:
    """Return the batches of an epoch, shuffled; each holds ``batch_size`` units of one source, the last may be smaller.

    A unit is what stays in one batch. With the cosine loss it is a pair. With the others it is a relevant pair with
    labelled and mined negatives of its query, drawn anew each epoch. With batches ``by_product`` queries that share a
    relevant product meet in a batch: fewer distinct products are embedded then, and in-batch negatives are harder.

    Args:
        sources: The tokenised train splits.
        loss: Which, and how many positives and negatives.
        optimizer: Gives the size and the kind of batches.
        seed: Of the recipe.
        epoch: Its number; another epoch is shuffled otherwise.
        mined: Mined negatives beside each positive.

    Raises:
        DataError: If InfoNCE is asked for and no pair is relevant.
    """
    batch_size, batches = optimizer.batch_size, optimizer.batches
    generator = np.random.default_rng([seed, epoch])
    plans = []
    for number, pairs in enumerate(sources):
        for _ in range(pairs.repeat):
            units = _units(pairs, loss, mined, generator)
            order = generator.permutation(len(units))
            if batches == "by_product":
                order = order[np.argsort(_product_places(pairs, units, generator)[order], kind="stable")]
            plans += [
                BatchPlan(number, tuple(pair for place in order[start : start + batch_size] for pair in units[place]))
                for start in range(0, len(order), batch_size)
            ]
    if len(sources) == 1 and batches != "by_product":
        return plans  # shuffled already
    return [plans[position] for position in generator.permutation(len(plans))]


def gather_batch(pairs: TokenizedPairs, plan: BatchPlan) -> TokenizedBatch:
    """Return the batch of a plan over its source's pairs."""
    numbers = np.array(plan.pairs, dtype=np.int64)
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
        grades=torch.from_numpy(pairs.grades[numbers]),
        positives=torch.from_numpy(positives),
    )


def _units(pairs: TokenizedPairs, loss: LossRecipe, mined: int, generator: np.random.Generator) -> list[list[int]]:
    if loss.name == "cosine":
        return [[number] for number in np.flatnonzero(pairs.labels != UNJUDGED).tolist()]
    if not (pairs.labels == 1).any():
        raise DataError(f"{loss.name} needs relevant pairs, got none in the train split: use the cosine loss")
    positives = _by_query(pairs, np.flatnonzero(pairs.labels == 1))
    negatives = _by_query(pairs, np.flatnonzero(pairs.labels == 0))
    unjudged = _by_query(pairs, np.flatnonzero(pairs.labels == UNJUDGED))
    units = []
    for query, relevant in positives.items():
        for number in _draw(relevant, loss.positives_per_query or len(relevant), generator):
            hard = _draw(negatives.get(query, []), loss.hard_negatives, generator)
            units.append([number, *hard, *_draw(unjudged.get(query, []), mined, generator)])
    if loss.cosent_weight:  # queries without a relevant product still order pairs
        units += [[number] for query in sorted(negatives.keys() - positives.keys()) for number in negatives[query]]
    return units


def _product_places(
    pairs: TokenizedPairs, units: Sequence[Sequence[int]], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return a number for each unit, (U,): equal for queries with the same best-known relevant product."""
    relevant = np.flatnonzero(pairs.labels == 1)
    queries_of = np.bincount(pairs.pair_product[relevant], minlength=len(pairs.product_rows))  # (products,)
    place = generator.permutation(len(pairs.product_rows))
    best: dict[int, int] = {}
    for query, product in zip(pairs.pair_query[relevant].tolist(), pairs.pair_product[relevant].tolist(), strict=True):
        known = best.setdefault(query, product)
        if (queries_of[product], product) > (queries_of[known], known):
            best[query] = product
    firsts = [unit[0] for unit in units]
    products = [best.get(int(pairs.pair_query[pair]), int(pairs.pair_product[pair])) for pair in firsts]
    return place[products]


def _by_query(pairs: TokenizedPairs, numbers: NDArray[np.int64]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number in numbers.tolist():
        found.setdefault(int(pairs.pair_query[number]), []).append(number)
    return found


def _draw(numbers: list[int], count: int, generator: np.random.Generator) -> list[int]:
    if count >= len(numbers):
        return numbers
    return [] if not count else [int(number) for number in generator.choice(numbers, size=count, replace=False)]


def _distinct(tokenizer: TextTokenizer, texts: list[str], side: Side) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Return the distinct rows of token ids, in the order in which they come, and which of them is each text's."""
    once = list(dict.fromkeys(texts))
    numbers: dict[tuple[int, ...], int] = {}
    number_of = {
        text: numbers.setdefault(tuple(row), len(numbers))
        for text, row in zip(once, tokenizer.token_ids(once, side), strict=True)
    }
    return [list(row) for row in numbers], np.array([number_of[text] for text in texts], dtype=np.int64)

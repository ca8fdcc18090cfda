"""Splits labelled pairs by query, so that no query stands in two of train, validation and test."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs, normalized_query, query_hash, query_hashes
from trident.errors import DataError, nearest
from trident_train.recipe import DataRecipe

SPLITS = ("train", "validation", "test")
ALSO_VALIDATION = dict.fromkeys(("valid", "val", "dev"), "validation")
WITHOUT_IRRELEVANT = ("infonce", None)  # losses that need relevant pairs only; None: nothing is trained

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitPairs:
    """Pairs in three parts that share no query."""

    train: Pairs
    validation: Pairs
    test: Pairs


def split_pairs(pairs: Pairs, recipe: DataRecipe, source: str) -> SplitPairs:
    """Return the pairs split by query: by their ``split`` column where there is one, else by the query's hash.

    Queries are compared case folded. The hash, not the order of the file, decides, so that more data moves no query
    from one part to another by much; the shares of queries are exact. Where the column names train and test only, as in
    public data, ``validation_share`` of the train queries validates.

    Args:
        pairs: All pairs.
        recipe: Shares and seed.
        source: What errors call the data.

    Raises:
        DataError: If a query stands in two splits, or a split name is unknown or missing.
    """
    queries = [normalized_query(query) for query in pairs.queries]
    if pairs.splits is None:
        part_of = _hashed_parts(sorted(set(queries)), recipe)
    else:
        part_of = _with_validation(_given_parts(queries, pairs.splits, source), recipe, source)
    rows: dict[str, list[int]] = {name: [] for name in SPLITS}
    for row, query in enumerate(queries):
        rows[part_of[query]].append(row)
    return SplitPairs(*(pairs.take(rows[name]) for name in SPLITS))


def trained_share(queries: list[str], trained: NDArray[np.uint64]) -> float:
    """Return the share of distinct queries whose hash is among those trained on."""
    hashes = query_hashes(queries)
    return float(np.isin(hashes, trained).mean())


def require_train(part: Pairs, source: str, loss: str | None) -> None:
    """Refuse a train split that a loss cannot learn from; None trains nothing.

    Raises:
        DataError: With how many relevant pairs there are of ``source``.
    """
    if loss in WITHOUT_IRRELEVANT and part.labels.any():
        return
    if len(part) and part.labels.all():
        raise DataError(
            f"loss.name '{loss}' needs relevant and irrelevant pairs, got {len(part):,} relevant of {len(part):,} in "
            f'the train split of {source}: train with loss.name = "infonce", which needs no irrelevant ones'
        )
    require_classes(part, "train", source)


def require_classes(part: Pairs, name: str, source: str, *, given: bool = False) -> None:
    """Refuse a split without relevant or without irrelevant pairs.

    Args:
        part: The pairs of the split.
        name: Its name.
        source: What errors call the data.
        given: Whether a column says which split a pair is in.

    Raises:
        DataError: With how many there are of ``source``.
    """
    if len(set(part.labels.tolist())) < 2:
        remedy = "" if name == "train" else f", or change data.{name}_share or data.split_seed"
        if given:
            remedy = ", or put other queries into it by the split column"
        raise DataError(
            f"the {name} split must hold relevant and irrelevant pairs, got {int(part.labels.sum())} relevant of "
            f"{len(part)}{f' ({source})' if source else ''}: give more queries{remedy}"
        )


def without(part: Pairs, queries: set[str]) -> tuple[Pairs, list[str]]:
    """Return the pairs whose normalised query is not among ``queries``, and those that were, sorted."""
    normalized = [normalized_query(query) for query in part.queries]
    leaked = sorted(queries.intersection(normalized))
    return part.take(row for row, query in enumerate(normalized) if query not in queries), leaked


def _hashed_parts(queries: list[str], recipe: DataRecipe) -> dict[str, str]:
    ordered = sorted(queries, key=lambda query: query_hash(query, f"{recipe.split_seed}:"))
    test = round(len(ordered) * recipe.test_share)
    validation = round(len(ordered) * recipe.validation_share)
    names = ["test"] * test + ["validation"] * validation + ["train"] * (len(ordered) - test - validation)
    return dict(zip(ordered, names, strict=True))


def _with_validation(part_of: dict[str, str], recipe: DataRecipe, source: str) -> dict[str, str]:
    """Return the parts with some train queries in validation where none is, by their hash.

    Raises:
        DataError: If there is no train or no test query.
    """
    found = set(part_of.values())
    for name in ("train", "test"):
        if name not in found:
            raise DataError(
                f"the split column of {source} must name a {name} split, got {', '.join(sorted(found))} only: name "
                "one, or leave the column out, and queries are split by data.test_share and data.validation_share"
            )
    if "validation" in found:
        return part_of
    train = sorted(
        (query for query, name in part_of.items() if name == "train"),
        key=lambda query: query_hash(query, f"{recipe.split_seed}:"),
    )
    count = max(1, round(len(train) * recipe.validation_share))
    logger.info(
        "%s: its split column names no validation split, %d of its %d train queries validate (data.validation_share)",
        source,
        count,
        len(train),
    )
    return part_of | dict.fromkeys(train[:count], "validation")


def _given_parts(queries: list[str], splits: list[str], source: str) -> dict[str, str]:
    part_of: dict[str, str] = {}
    for row, (query, given) in enumerate(zip(queries, splits, strict=True)):
        name = given.strip().lower()
        split = ALSO_VALIDATION.get(name, name)
        if split not in SPLITS:
            raise DataError(
                f"split must be one of {', '.join(SPLITS)}, got '{given}' in row {row + 1} of {source}"
                f"{nearest(given, SPLITS)}"
            )
        first = part_of.setdefault(query, split)
        if first != split:
            raise DataError(
                f"no query may stand in two splits, got '{query}' in {first} and in {split} (row {row + 1}): "
                "split by query, or remove the split column"
            )
    return part_of

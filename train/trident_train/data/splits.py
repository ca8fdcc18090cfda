"""Splits labelled pairs by query, so that no query stands in two of train, validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident_train.recipe import DataRecipe

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitPairs:
    """Pairs in three parts that share no query."""

    train: Pairs
    validation: Pairs
    test: Pairs


def split_pairs(pairs: Pairs, recipe: DataRecipe) -> SplitPairs:
    """Return the pairs split by query: by their ``split`` column where there is one, else by the query's hash.

    Queries are compared case folded. The hash, not the order of the file, decides, so that more data moves no query
    from one part to another by much; the shares of queries are exact.

    Raises:
        DataError: If a query stands in two splits, a split name is unknown, or a part is empty or has one class only.
    """
    queries = [normalized_query(query) for query in pairs.queries]
    if pairs.splits is None:
        part_of = _hashed_parts(sorted(set(queries)), recipe)
    else:
        part_of = _given_parts(queries, pairs.splits)
    rows: dict[str, list[int]] = {name: [] for name in SPLITS}
    for row, query in enumerate(queries):
        rows[part_of[query]].append(row)
    for name in SPLITS:
        require_classes(pairs.take(rows[name]), name, recipe.pairs)
    return SplitPairs(*(pairs.take(rows[name]) for name in SPLITS))


def query_hashes(queries: list[str]) -> NDArray[np.uint64]:
    """Return the sorted distinct 64-bit hashes of queries; a run keeps those it was trained on."""
    return np.array(sorted({query_hash(normalized_query(query)) for query in queries}), dtype=np.uint64)


def trained_share(queries: list[str], trained: NDArray[np.uint64]) -> float:
    """Return the share of distinct queries whose hash is among those trained on."""
    hashes = query_hashes(queries)
    return float(np.isin(hashes, trained).mean())


def require_classes(part: Pairs, name: str, source: str) -> None:
    """Refuse a split without relevant or without irrelevant pairs.

    Raises:
        DataError: With how many there are of ``source``.
    """
    if len(set(part.labels.tolist())) < 2:
        remedy = "" if name == "train" else f", or change data.{name}_share or data.split_seed"
        raise DataError(
            f"the {name} split must hold relevant and irrelevant pairs, got {int(part.labels.sum())} relevant of "
            f"{len(part)}{f' ({source})' if source else ''}: give more queries{remedy}"
        )


def without(part: Pairs, queries: set[str]) -> tuple[Pairs, list[str]]:
    """Return the pairs whose normalised query is not among ``queries``, and those that were, sorted."""
    normalized = [normalized_query(query) for query in part.queries]
    leaked = sorted(queries.intersection(normalized))
    return part.take(row for row, query in enumerate(normalized) if query not in queries), leaked


def query_hash(query: str, salt: str = "") -> int:
    """Return a number by which queries are put into an order that has nothing to do with them; 64 bits."""
    return int.from_bytes(hashlib.sha256(f"{salt}{query}".encode()).digest()[:8], "big")


def _hashed_parts(queries: list[str], recipe: DataRecipe) -> dict[str, str]:
    ordered = sorted(queries, key=lambda query: query_hash(query, f"{recipe.split_seed}:"))
    test = round(len(ordered) * recipe.test_share)
    validation = round(len(ordered) * recipe.validation_share)
    names = ["test"] * test + ["validation"] * validation + ["train"] * (len(ordered) - test - validation)
    return dict(zip(ordered, names, strict=True))


def _given_parts(queries: list[str], splits: list[str]) -> dict[str, str]:
    part_of: dict[str, str] = {}
    for row, (query, split) in enumerate(zip(queries, splits, strict=True)):
        if split not in SPLITS:
            raise DataError(f"split must be one of {', '.join(SPLITS)}, got '{split}' in row {row + 1}")
        first = part_of.setdefault(query, split)
        if first != split:
            raise DataError(
                f"no query may stand in two splits, got '{query}' in {first} and in {split} (row {row + 1}): "
                "split by query, or remove the split column"
            )
    return part_of

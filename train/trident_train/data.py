"""Labelled pairs for training: read from a file or a hub dataset, and split by query."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trident.catalogue import read_catalogue
from trident.errors import DataError
from trident.pairs import Pairs, normalized_query, pairs_from_table, read_pairs
from trident.tables import as_contract
from trident_train.recipe import DataRecipe

SPLITS = ("train", "validation", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitPairs:
    """Pairs in three parts that share no query."""

    train: Pairs
    validation: Pairs
    test: Pairs


def load_pairs(recipe: DataRecipe) -> Pairs:
    """Return the pairs that a recipe names.

    Raises:
        DataError: If the source is missing or breaks a rule of ``trident.pairs``.
    """
    catalogue = None if recipe.catalogue is None else read_catalogue(recipe.catalogue)
    path = Path(recipe.pairs)
    if path.suffix or path.exists():
        return read_pairs(path, recipe.columns, positive_from=recipe.positive_from, catalogue=catalogue)
    return _hub_pairs(recipe)


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
        labels = pairs.labels[rows[name]]
        if len(set(labels.tolist())) < 2:
            remedy = "" if name == "train" else f", or change data.{name}_share or data.split_seed"
            raise DataError(
                f"the {name} split must hold relevant and irrelevant pairs, got {int(labels.sum())} relevant of "
                f"{len(labels)}: give more queries{remedy}"
            )
    parts = SplitPairs(*(pairs.take(rows[name]) for name in SPLITS))
    logger.info("pairs: train %d, validation %d, test %d", len(parts.train), len(parts.validation), len(parts.test))
    return parts


def query_hashes(queries: list[str]) -> NDArray[np.uint64]:
    """Return the sorted distinct 64-bit hashes of queries; a run keeps those it was trained on."""
    return np.array(sorted({_query_hash(normalized_query(query)) for query in queries}), dtype=np.uint64)


def trained_share(queries: list[str], trained: NDArray[np.uint64]) -> float:
    """Return the share of distinct queries whose hash is among those trained on."""
    hashes = query_hashes(queries)
    return float(np.isin(hashes, trained).mean())


def _query_hash(query: str, salt: str = "") -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}{query}".encode()).digest()[:8], "big")


def _hashed_parts(queries: list[str], recipe: DataRecipe) -> dict[str, str]:
    ordered = sorted(queries, key=lambda query: _query_hash(query, f"{recipe.split_seed}:"))
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


def _hub_pairs(recipe: DataRecipe) -> Pairs:
    import datasets  # slow to import, and only hub sources need it

    try:
        splits = datasets.load_dataset(recipe.pairs)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"data.pairs '{recipe.pairs}' is no file, and no dataset of the hub: {reason}") from error
    tables = [dataset.with_format("arrow")[:] for dataset in splits.values()]
    table = as_contract(
        pa.concat_tables(tables, promote_options="default"),
        Path(recipe.pairs),
        renamed=recipe.columns,
        required=("query", "product_title", "relevance_label"),
    )
    return pairs_from_table(table, Path(recipe.pairs), positive_from=recipe.positive_from)

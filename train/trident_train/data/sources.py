"""Labelled pairs for training: read from a file or a hub dataset, and split by query."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.pairs import Pairs, normalized_query, pairs_from_table, read_pairs
from trident.data.tables import as_contract
from trident.errors import DataError
from trident_train.data.audit import Audit, audit, contradictions, require_consistent
from trident_train.data.kind_queries import kind_queries
from trident_train.data.title_queries import title_queries
from trident_train.recipe import DataRecipe, SourceRecipe, TitleWords

SPLITS = ("train", "validation", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitPairs:
    """Pairs in three parts that share no query."""

    train: Pairs
    validation: Pairs
    test: Pairs


@dataclass(frozen=True)
class Source:
    """One source of pairs, ready to train on.

    ``name`` is empty when there is one source only; ``made`` are pairs of queries made of titles, by which words of
    them, that are trained on beside the train split.
    """

    name: str
    recipe: SourceRecipe
    parts: SplitPairs
    catalogue: Catalogue | None
    audit: Audit
    made: dict[TitleWords, Pairs] = field(default_factory=dict)

    def ranked_catalogue(self) -> Catalogue | None:
        """Return the catalogue that the test split is ranked against, None if the recipe asks for none."""
        return self.catalogue if self.recipe.rank_catalogue else None


def load_sources(recipe: DataRecipe, *, turns: int = 1) -> list[Source]:
    """Return the sources of a recipe, split by query and audited.

    Queries are made of titles as often as ``turns`` says: epochs that begin anew have others each.

    A train query that another source holds out is left out of training, so that no source's figures profit from it.

    Raises:
        DataError: If a source is missing, breaks a rule of ``trident.data.pairs``, or would make the figures lie.
    """
    read = {}
    for name, source in recipe.by_name().items():
        catalogue = None if source.catalogue is None else read_catalogue(source.catalogue)
        pairs = load_pairs(source, catalogue)
        both = {row for rows in contradictions(pairs).values() for row in rows}
        kept = pairs
        if both and recipe.contradictions == "drop":
            kept = pairs.take(row for row in range(len(pairs)) if row not in both)
        parts = split_pairs(kept, recipe)
        for split, part in (("validation", parts.validation), ("test", parts.test)):
            require_consistent(split, part, source.pairs)
        read[name] = (source, catalogue, pairs, parts, len(pairs) - len(kept))
    held_out = {
        name: {normalized_query(query) for part in (parts.validation, parts.test) for query in part.queries}
        for name, (_, _, _, parts, _) in read.items()
    }
    sources = []
    for name, (source, catalogue, pairs, parts, dropped) in read.items():
        elsewhere = set().union(*(queries for other, queries in held_out.items() if other != name))
        train, leaked = _without(parts.train, elsewhere)
        dropped += len(parts.train) - len(train)
        parts = SplitPairs(train, parts.validation, parts.test)
        _require_classes(train, "train", source.pairs)
        report = audit(pairs, parts, leaked=leaked, dropped=dropped)
        made = {}
        if source.title_queries:
            titles = train.titles if catalogue is None else catalogue.titles
            unseen = frozenset().union(*held_out.values())
            for words in source.words_of_titles():
                count = source.title_queries * turns
                made[words] = _made(titles, words, source, count, held_out=unseen, seed=recipe.split_seed)
        sources.append(Source(name, source, parts, catalogue, report, made))
        logger.info(
            "%s: train %d, validation %d, test %d pairs, %d made of titles",
            name or "pairs",
            len(train),
            len(parts.validation),
            len(parts.test),
            sum(len(pairs) for pairs in made.values()),
        )
    return sources


def _made(
    titles: list[str], words: TitleWords, source: SourceRecipe, count: int, *, held_out: frozenset[str], seed: int
) -> Pairs:
    language = source.title_language
    if words == "kinds":
        return kind_queries(titles, count, held_out=held_out, seed=seed, language=language)
    return title_queries(titles, count, held_out=held_out, seed=seed, kind=words, language=language)


def load_pairs(recipe: SourceRecipe, catalogue: Catalogue | None) -> Pairs:
    """Return the pairs of one source; the catalogue gives the titles where the pairs have ids only.

    Raises:
        DataError: If the source is missing or breaks a rule of ``trident.data.pairs``.
    """
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
        _require_classes(pairs.take(rows[name]), name, recipe.pairs)
    return SplitPairs(*(pairs.take(rows[name]) for name in SPLITS))


def query_hashes(queries: list[str]) -> NDArray[np.uint64]:
    """Return the sorted distinct 64-bit hashes of queries; a run keeps those it was trained on."""
    return np.array(sorted({query_hash(normalized_query(query)) for query in queries}), dtype=np.uint64)


def trained_share(queries: list[str], trained: NDArray[np.uint64]) -> float:
    """Return the share of distinct queries whose hash is among those trained on."""
    hashes = query_hashes(queries)
    return float(np.isin(hashes, trained).mean())


def _require_classes(part: Pairs, name: str, source: str) -> None:
    if len(set(part.labels.tolist())) < 2:
        remedy = "" if name == "train" else f", or change data.{name}_share or data.split_seed"
        raise DataError(
            f"the {name} split must hold relevant and irrelevant pairs, got {int(part.labels.sum())} relevant of "
            f"{len(part)}{f' ({source})' if source else ''}: give more queries{remedy}"
        )


def _without(part: Pairs, queries: set[str]) -> tuple[Pairs, list[str]]:
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


def _hub_pairs(recipe: SourceRecipe) -> Pairs:
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

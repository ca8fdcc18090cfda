"""The sources of a recipe: labelled pairs read from files or hub datasets, split and audited."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.pairs import Pairs, normalized_query, pairs_from_table, read_pairs
from trident.data.tables import as_contract
from trident.errors import DataError
from trident_train.data.audit import Audit, audit, contradictions, require_consistent
from trident_train.data.splits import SplitPairs, require_classes, split_pairs, without
from trident_train.recipe import DataRecipe, SourceRecipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One source of pairs, ready to train on; ``name`` is empty when there is one source only."""

    name: str
    recipe: SourceRecipe
    parts: SplitPairs
    catalogue: Catalogue | None
    audit: Audit

    def ranked_catalogue(self) -> Catalogue | None:
        """Return the catalogue that the test split is ranked against, None if the recipe asks for none."""
        return self.catalogue if self.recipe.rank_catalogue else None


def load_sources(recipe: DataRecipe) -> list[Source]:
    """Return the sources of a recipe, split by query and audited.

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
        train, leaked = without(parts.train, elsewhere)
        dropped += len(parts.train) - len(train)
        parts = SplitPairs(train, parts.validation, parts.test)
        require_classes(train, "train", source.pairs)
        report = audit(pairs, parts, leaked=leaked, dropped=dropped)
        sources.append(Source(name, source, parts, catalogue, report))
        logger.info(
            "%s: train %d, validation %d, test %d pairs",
            name or "pairs",
            len(train),
            len(parts.validation),
            len(parts.test),
        )
    return sources


def load_pairs(recipe: SourceRecipe, catalogue: Catalogue | None) -> Pairs:
    """Return the pairs of one source; the catalogue gives the titles where the pairs have ids only.

    Raises:
        DataError: If the source is missing or breaks a rule of ``trident.data.pairs``.
    """
    path = Path(recipe.pairs)
    if path.suffix or path.exists():
        return read_pairs(path, recipe.columns, positive_from=recipe.positive_from, catalogue=catalogue)
    return _hub_pairs(recipe)


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

"""The sources of a recipe: labelled pairs read from files or hub datasets, split and audited."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from trident.data.catalogue import Catalogue, columns_of, read_catalogue
from trident.data.labels import LabelRule
from trident.data.meeting import meet
from trident.data.pairs import Pairs, normalized_query, pairs_from_table, read_pairs
from trident.data.reading import PAIR_COLUMNS, Reading, recipe_catalogue_options, recipe_options
from trident.data.tables import as_contract
from trident.errors import DataError
from trident_train.data.audit import Audit, audit, require_consistent, without_contradictions
from trident_train.data.relevant_only import OTHERS, is_relevant_only, products_of, with_others
from trident_train.data.splits import (
    SplitPairs,
    require_classes,
    require_train,
    split_pairs,
    without,
)
from trident_train.recipe import DataRecipe, SourceRecipe, TrainRecipe

RECIPE = recipe_options()

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


def read_sources(recipe: TrainRecipe) -> list[Source]:
    """Return the sources of a recipe as its training needs them.

    Raises:
        DataError: As ``load_sources``.
    """
    return load_sources(
        recipe.data,
        loss=None if recipe.method == "none" else "infonce" if recipe.negatives.mined else recipe.loss.name,
        ranked=recipe.selection.ranks_catalogue() or recipe.negatives.mined > 0,
    )


def load_sources(recipe: DataRecipe, *, loss: str | None = "cosine", ranked: bool = False) -> list[Source]:
    """Return the sources of a recipe, split by query and audited.

    Of a source whose pairs are all relevant, as clicks are, the held-out ones are ranked among other products.

    Args:
        recipe: The sources.
        loss: That is trained with, which may need irrelevant pairs; None: nothing is trained.
        ranked: Whether a catalogue is ranked or mined beyond what the sources ask for.

    A train query that another source holds out is left out of training, so that no source's figures profit from it.

    Raises:
        DataError: If a source is missing, breaks a rule of ``trident.data.pairs``, or would make the figures lie.
    """
    read = {}
    for name, source in recipe.by_name().items():
        table = recipe.table_of(name)
        catalogue = load_catalogue(source, table)
        pairs = load_pairs(source, catalogue, table)
        if catalogue is not None:
            _tell_meeting(pairs, source, catalogue, ranked=ranked or source.rank_catalogue)
        kept = kept_pairs(pairs, recipe)
        parts = split_pairs(kept, recipe, source.pairs)
        if is_relevant_only(kept):
            require_train(parts.train, source.pairs, loss)
            parts = _among_others(parts, products_of(kept, catalogue), source.pairs)
        for split, part in (("validation", parts.validation), ("test", parts.test)):
            require_classes(part, split, source.pairs, given=kept.splits is not None)
            require_consistent(f"the {split} split of {source.pairs}", part, RECIPE.contradictions)
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
        require_train(train, source.pairs, loss)
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


def kept_pairs(pairs: Pairs, recipe: DataRecipe) -> Pairs:
    """Return the pairs that are split: without contradicting ones where the recipe drops them."""
    return without_contradictions(pairs) if recipe.contradictions == "drop" else pairs


def load_catalogue(recipe: SourceRecipe, table: str) -> Catalogue | None:
    """Return the catalogue of one source, None if it names none; ``table`` is where the recipe has it.

    Raises:
        DataError: If it is missing or breaks a rule of ``trident.data.catalogue``.
    """
    if recipe.catalogue is None:
        return None
    options = recipe_catalogue_options(table)
    reading = Reading(columns=recipe.catalogue_columns, encoding=recipe.catalogue_encoding, options=options)
    return read_catalogue(recipe.catalogue, reading)


def load_pairs(recipe: SourceRecipe, catalogue: Catalogue | None, table: str) -> Pairs:
    """Return the pairs of one source; the catalogue gives the titles where the pairs have ids only.

    Raises:
        DataError: If the source is missing or breaks a rule of ``trident.data.pairs``.
    """
    path = Path(recipe.pairs)
    reading = Reading(columns=recipe.columns, encoding=recipe.encoding, options=recipe_options(table))
    rule = LabelRule(positive_from=recipe.positive_from, gains=recipe.gains)
    if path.suffix or path.exists():
        return read_pairs(path, reading, labels=rule, catalogue=catalogue)
    return _hub_pairs(recipe, reading, rule)


def _among_others(parts: SplitPairs, products: Mapping[str, str], source: str) -> SplitPairs:
    """Return parts of relevant pairs, the held-out ones among products that are drawn."""
    logger.info(
        "%s: all pairs are relevant; the held-out queries are judged by how high theirs stand among up to %d other "
        "products, drawn at random, which count as irrelevant",
        source,
        OTHERS,
    )
    held_out = (with_others(part, products, source) for part in (parts.validation, parts.test))
    return SplitPairs(parts.train, *held_out)


def _tell_meeting(pairs: Pairs, source: SourceRecipe, catalogue: Catalogue, *, ranked: bool) -> None:
    relevant = itertools.compress(pairs.product_ids, pairs.labels.tolist())
    meeting = meet(relevant, catalogue)
    if ranked:
        meeting.require(source.pairs, source.catalogue, "mend the ids; the catalogue is ranked or mined by them")
    if text := meeting.text(source.pairs, source.catalogue):
        logger.warning("%s", text)


def _hub_pairs(recipe: SourceRecipe, reading: Reading, rule: LabelRule) -> Pairs:
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
        reading,
        required=("query", "product_title", "relevance_label"),
        known=columns_of(PAIR_COLUMNS, reading),
    )
    return pairs_from_table(table, Path(recipe.pairs), reading, labels=rule)

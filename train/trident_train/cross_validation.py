"""Judges a recipe by cross-validation: each query outside the test split is held out in one fold of a deal.

    trident cross-validate train/recipes/icecat.toml --out runs/icecat-folds --folds 4 --deals 3

The test split takes no part in it, so that settings can be chosen by these figures and be judged by that one. A fold is
a whole training with a run folder of its own; what is finished is not done again when the same command is given again.

Source: Stone 1974, Cross-validatory choice and assessment of statistical predictions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet

from trident.config import to_table
from trident.data.pairs import Pairs, normalized_query, query_hash, read_pairs
from trident.errors import ConfigError, DataError
from trident.quality.metrics import Interval
from trident.quality.paired import mean_change
from trident_train.data.folds import check_folds
from trident_train.data.sources import kept_pairs, load_catalogue, load_pairs
from trident_train.data.splits import split_pairs, without
from trident_train.recipe import DataRecipe, SourceRecipe, TrainRecipe
from trident_train.report.report import CATALOGUE_NDCG, JUDGED_NDCG, before_arm
from trident_train.report.run_files import RECIPE_FILE, REPORT_FILE, TEST_QUERIES_FILE, read_json, write_json
from trident_train.run import Report, train

SUMMARY_FILE = "cross_validation.json"

AnySource = TypeVar("AnySource", bound=SourceRecipe)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What training changed over the held-out queries, each by the mean of its deals; the interval is over queries."""

    before: float
    after: float
    change: Interval
    queries: int
    better: int
    worse: int


@dataclass(frozen=True, kw_only=True)
class SourceGains:
    """Of one source, whose name is empty where there is one only; ROC-AUC before and after are means over folds."""

    data: str
    roc_auc: tuple[float, float]
    ndcg_at_10: Gain
    catalogue_ndcg_at_10: Gain | None


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What a recipe does to queries that it was not trained on."""

    folds: int
    deals: int
    sources: tuple[SourceGains, ...]


def cross_validate(
    recipe: TrainRecipe,
    output: Path,
    *,
    folds: int,
    deals: int = 1,
    report: Report = lambda _: None,
    begin: Callable[[str], None] = lambda _: None,
) -> CrossValidation:
    """Train a recipe once a fold and return what that did to the held-out queries.

    Args:
        recipe: Its test split is left out; of what is not held out its share of queries validates.
        output: A folder for the runs, and for ``cross_validation.json``.
        folds: Parts that the queries are dealt out into, >= 2.
        deals: Times that they are dealt out, each time otherwise.
        report: As for ``train``.
        begin: Called with the fold's name before it is trained.

    Raises:
        TridentError: If the recipe cannot be trained, or the folder holds folds of another one or of other pairs.
    """
    check_folds(recipe, folds=folds, deals=deals)
    output.mkdir(parents=True, exist_ok=True)
    runs = []
    for deal in range(1, deals + 1):
        for fold in range(1, folds + 1):
            run = output / f"deal-{deal}-fold-{fold}"
            of_fold = fold_recipe(recipe, run, deal=deal, part=slice(fold - 1, None, folds))
            if not run.exists():
                begin(f"deal {deal} of {deals}, fold {fold} of {folds}")
                train(of_fold, run, report=report)
            elif read_json(run / RECIPE_FILE) != to_table(of_fold):
                raise ConfigError(f"{run} must be of the same recipe, got another one: choose another --out")
            runs.append(run)
    result = CrossValidation(folds=folds, deals=deals, sources=tuple(_gains(runs, recipe.method)))
    write_json(output / SUMMARY_FILE, to_table(result))
    return result


def fold_recipe(recipe: TrainRecipe, run: Path, *, deal: int, part: slice) -> TrainRecipe:
    """Return the recipe of a fold, whose test split is a part of the queries; its pairs lie beside the run.

    Left out is what a training of the recipe holds out as its test split, of each source from all sources.

    Raises:
        DataError: If the run is finished, and was of other pairs.
    """
    read = {}
    for name, source in recipe.data.by_name().items():
        table = recipe.data.table_of(name)
        pairs = load_pairs(source, load_catalogue(source, table), table)
        read[name] = kept_pairs(pairs, recipe.data)
    tests = [split_pairs(read[name], recipe.data, source.pairs).test for name, source in recipe.data.by_name().items()]
    left_out = {normalized_query(query) for test in tests for query in test.queries}

    def dealt(source: AnySource, name: str = "") -> AnySource:
        path = run.with_name(f"{run.name}{f'-{name}' if name else ''}.parquet")
        pairs = _dealt(read[name], left_out, recipe.data, deal, part)
        if not run.exists():
            pairs.save(path)
        elif not path.is_file() or _content(read_pairs(path)) != _content(pairs):
            raise DataError(f"{run} must be of the same pairs, got others: choose another --out")
        ours: dict[str, Any] = {"columns": {}, "encoding": None, "gains": {}, "positive_from": None}
        return dataclasses.replace(source, pairs=str(path), **ours)  # names and labels are ours

    if not recipe.data.sources:
        return dataclasses.replace(recipe, data=dealt(recipe.data))
    sources = {name: dealt(source, name) for name, source in recipe.data.sources.items()}
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, sources=sources))


def _dealt(pairs: Pairs, left_out: set[str], recipe: DataRecipe, deal: int, part: slice) -> Pairs:
    """Return the pairs outside the test splits of all sources, whose queries are ``left_out``, split for a fold."""
    kept, _ = without(pairs, left_out)
    names = [normalized_query(query) for query in kept.queries]
    ordered = sorted(set(names), key=lambda query: query_hash(query, f"deal {deal}:"))
    held_out = ordered[part]
    others = [query for query in ordered if query not in set(held_out)]
    validating = round(len(others) * recipe.validation_share / (1 - recipe.test_share))
    split_of = dict.fromkeys(others, "train") | dict.fromkeys(others[:validating], "validation")
    split_of |= dict.fromkeys(held_out, "test")
    return dataclasses.replace(kept, splits=[split_of[name] for name in names])


def _content(pairs: Pairs) -> tuple[list[Any], ...]:
    texts = (pairs.queries, pairs.product_ids, pairs.titles, pairs.splits or [])
    return (*texts, pairs.labels.tolist(), pairs.grades.tolist())


def _gains(runs: Sequence[Path], method: str) -> Iterator[SourceGains]:
    tables = [pyarrow.parquet.read_table(run / TEST_QUERIES_FILE).to_pylist() for run in runs]
    reports = [read_json(run / REPORT_FILE)["test"] for run in runs]
    rows = [row for table in tables for row in table]
    before_name = before_arm(read_json(runs[0] / REPORT_FILE))
    for data in dict.fromkeys(row["data"] for row in rows):
        of_source = [row for row in rows if row["data"] == data]
        before, after = (
            float(np.mean([_roc_auc(report, arm, data) for report in reports])) for arm in (before_name, method)
        )
        ranks = of_source[0][f"{method} {CATALOGUE_NDCG}"] is not None
        yield SourceGains(
            data=data,
            roc_auc=(before, after),
            ndcg_at_10=_gain(of_source, (before_name, method), JUDGED_NDCG),
            catalogue_ndcg_at_10=_gain(of_source, (before_name, method), CATALOGUE_NDCG) if ranks else None,
        )


def _gain(rows: Sequence[dict[str, Any]], arms: tuple[str, str], figure: str) -> Gain:
    before, after = (_by_query(rows, f"{arm} {figure}") for arm in arms)
    changes = np.array([after[query] - before[query] for query in before])  # (Q,)
    return Gain(
        before=float(np.mean(list(before.values()))),
        after=float(np.mean(list(after.values()))),
        change=mean_change(after, before),
        queries=len(changes),
        better=int((changes > 0).sum()),
        worse=int((changes < 0).sum()),
    )


def _by_query(rows: Sequence[dict[str, Any]], column: str) -> dict[str, float]:
    """Return the mean of a column over each query's deals."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(str(row["query"]), []).append(float(row[column]))
    return {query: float(np.mean(found)) for query, found in values.items()}


def _roc_auc(report: Sequence[dict[str, Any]], arm: str, data: str) -> float:
    (row,) = (row for row in report if row["name"] == arm and row["data"] == data)
    return float(row["judged"]["roc_auc"]["value"])

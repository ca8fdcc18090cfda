"""What a finished run folder says, read back for its report page and for comparing runs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from trident.data.pairs import Pairs, read_pairs
from trident.errors import ModelError
from trident_train.judge.evaluate import Scores
from trident_train.report.report import TrainReport
from trident_train.report.run_files import (
    METRICS_FILE,
    RECIPE_FILE,
    REPORT_FILE,
    TEST_PAIRS_FILE,
    TEST_SCORES_FILE,
    read_json,
)

DATA_COLUMN = "data"

Table = dict[str, Any]


@dataclass(frozen=True)
class SourceResult:
    """The test split of one source and what each arm says of it.

    Attributes:
        name: Empty when there is one source only.
        pairs: P held-out pairs.
        scores: (P,) float32 by arm, in the order of the table.
        rows: ``trident_train.judge.evaluate.Row`` of each arm, as plain tables.
    """

    name: str
    pairs: Pairs
    scores: dict[str, Scores]
    rows: list[Table]

    def row(self, arm: str) -> Table:
        """Return the row of an arm."""
        return next(row for row in self.rows if row["name"] == arm)


@dataclass(frozen=True)
class RunResults:
    """A finished run.

    Attributes:
        folder: The run folder.
        report: ``report.json``, ``trident_train.report.report.TrainReport`` as a plain table.
        recipe: ``recipe.json``, resolved.
        sources: In the order of the recipe.
        losses: (S,) float64, one a step; none if nothing was trained.
    """

    folder: Path
    report: Table
    recipe: Table
    sources: list[SourceResult]
    losses: NDArray[np.float64]

    @property
    def trained_arm(self) -> str | None:
        """The name of the trained arm; None if nothing was trained."""
        return None if self.report["trained"] is None else str(self.report["method"])


def read_results(folder: Path) -> RunResults:
    """Return what a run folder says.

    Raises:
        ModelError: If the folder is no run, is damaged, or was written by another version.
    """
    report = read_report(folder)
    return RunResults(
        folder=folder,
        report=report,
        recipe=read_json(folder / RECIPE_FILE),
        sources=_read_sources(folder, report),
        losses=_read_losses(folder / METRICS_FILE),
    )


def read_report(folder: Path) -> Table:
    """Return the ``report.json`` of a run folder.

    Raises:
        ModelError: If the folder is no run, or its report is damaged or of another version.
    """
    report = read_json(folder / REPORT_FILE)
    for field in dataclasses.fields(TrainReport):
        if field.name not in report and field.default is dataclasses.MISSING:
            raise ModelError(
                f"{folder / REPORT_FILE} has no '{field.name}': another version of Trident wrote it; train again"
            )
    return report


def kept_text(trained: Table) -> str:
    """Return which weights a run kept, such as ``epoch 2 of 4, the best by the validation split``."""
    return f"epoch {trained['best_epoch']} of {len(trained['epochs'])}, the best by the validation split"


def read_test_split(folder: Path) -> tuple[Pairs, list[str]]:
    """Return the held-out pairs of a run folder, and the name of each pair's source.

    Raises:
        ModelError: If a file is missing, or the two belong to different runs.
    """
    pairs, scores = _read_test(folder)
    return pairs, scores.column(DATA_COLUMN).to_pylist()


def _read_sources(folder: Path, report: Table) -> list[SourceResult]:
    pairs, table = _read_test(folder)
    names = np.array(table.column(DATA_COLUMN).to_pylist(), dtype=object)
    sources = []
    for name in dict.fromkeys(row["data"] for row in report["test"]):
        rows = np.flatnonzero(names == name)
        arms = [row for row in report["test"] if row["data"] == name]
        for arm in arms:
            if arm["name"] not in table.column_names:
                raise ModelError(f"{folder / TEST_SCORES_FILE} has no scores of '{arm['name']}': train again")
        scores = {arm["name"]: table.column(arm["name"]).to_numpy()[rows] for arm in arms}
        sources.append(SourceResult(name, pairs.take(rows.tolist()), scores, arms))
    return sources


def _read_test(folder: Path) -> tuple[Pairs, Any]:
    path = folder / TEST_SCORES_FILE
    for needed in (folder / TEST_PAIRS_FILE, path):
        if not needed.is_file():
            raise ModelError(f"{folder} is no whole run folder: it has no {needed.name}; make one with trident train")
    pairs = read_pairs(folder / TEST_PAIRS_FILE)
    scores = pyarrow.parquet.read_table(path)
    if len(pairs) != scores.num_rows:
        raise ModelError(
            f"{path} must have one row for each of the {len(pairs):,} pairs of {TEST_PAIRS_FILE}, "
            f"got {scores.num_rows:,}: train again"
        )
    return pairs, scores


def _read_losses(path: Path) -> NDArray[np.float64]:
    if not path.is_file():  # nothing was trained
        return np.empty(0)
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}): train again") from error
    return np.array([entry["loss"] for entry in entries if entry["kind"] == "step"], dtype=np.float64)

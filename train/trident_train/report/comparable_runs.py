"""Reads the runs of a comparison, and refuses those that were judged on something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ConfigError, DataError
from trident_train.report.report import PRETRAINED, before_arm
from trident_train.report.results import Table, read_report, read_test_split
from trident_train.report.run_files import BASE_FILE, RECIPE_FILE, read_json


@dataclass(frozen=True)
class ComparedRun:
    """A run that was read for comparison.

    ``base`` tells apart what was there before: equal weights under an equal text contract, judged on the same hardware;
    of rerankers their first stage.
    """

    name: str
    folder: Path
    report: Table
    recipe: Table
    base: str

    @property
    def before(self) -> str:
        """The arm that was there before training."""
        return before_arm(self.report)

    @property
    def trained_arm(self) -> str:
        """The arm that the run stands for; a run that trained nothing stands for the pretrained model."""
        return PRETRAINED if self.report["trained"] is None else str(self.report["method"])

    def row(self, data: str, arm: str) -> Table:
        """Return the row of an arm on a source."""
        return next(row for row in self.report["test"] if (row["data"], row["name"]) == (data, arm))


def read_comparable(folders: Sequence[Path]) -> list[ComparedRun]:
    """Return the runs of folders that were judged on one test split.

    Raises:
        ConfigError: If there is no run, or two have the same name.
        ModelError: If a folder is no run.
        DataError: If the runs have other test splits.
    """
    if not folders:
        raise ConfigError("compare needs at least one run folder, got none")
    _require_distinct(folders)
    runs = [_read_run(folder) for folder in folders]
    _require_same_test(runs)
    return runs


def _require_distinct(folders: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in seen:
            raise ConfigError(
                f"every run needs a name of its own, got '{name}' twice ({seen[name]} and {folder}): rename a folder"
            )
        seen[name] = folder


def _read_run(folder: Path) -> ComparedRun:
    report, recipe = read_report(folder), read_json(folder / RECIPE_FILE)
    environment = report["environment"]
    judged_on = [read_json(folder / BASE_FILE)["weights_fingerprint"], recipe["text"]]
    judged_on += [environment["device"], environment["precision"]]
    if before_arm(report) != PRETRAINED:
        judged_on = [before_arm(report), recipe["reranker"].get("first_stage") or judged_on]
    return ComparedRun(folder.resolve().name, folder, report, recipe, json.dumps(judged_on, sort_keys=True))


def _require_same_test(runs: Sequence[ComparedRun]) -> None:
    first, names = read_test_split(runs[0].folder)
    for run in runs[1:]:
        other, other_names = read_test_split(run.folder)
        rule = f"runs are compared on one test split, but {runs[0].folder} and {run.folder} have"
        remedy = "compare runs of the same data, shares and split_seed"
        if len(first) != len(other):
            raise DataError(f"{rule} {len(first):,} and {len(other):,} test pairs: {remedy}")
        for column, ours, theirs in (
            ("sources", names, other_names),
            ("queries", first.queries, other.queries),
            ("titles", first.titles, other.titles),
            ("labels", first.labels.tolist(), other.labels.tolist()),
            ("grades", first.grades.tolist(), other.grades.tolist()),
        ):
            row = next((row for row, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), None)
            if row is not None:
                raise DataError(
                    f"{rule} other {column}, first in row {row + 1}: {ours[row]!r}, {theirs[row]!r}: {remedy}"
                )

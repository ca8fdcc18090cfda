"""Compares finished runs that were judged on the same test split: quality, cost, and LoRA against full fine-tuning.

trident compare runs/lora runs/full --plot comparison.svg --memory-limit 4GiB
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trident.config import from_table
from trident.errors import ConfigError, DataError
from trident_train.recipe import TrainRecipe
from trident_train.report.comparable_runs import ComparedRun, read_comparable
from trident_train.report.report import PRETRAINED
from trident_train.report.results import Table
from trident_train.report.run_files import RECIPE_FILE

REFERENCES = ("random", "BM25")
PLOT_SUFFIXES = (".svg", ".png")
TOLERANCE = 1e-6  # between the figures of an arm that several runs judged


@dataclass(frozen=True, kw_only=True)
class ComparedArm:
    """A row of the table, figures as in ``report.json``; ``run`` is None for what runs share."""

    name: str
    run: str | None
    judged: Table
    catalogue: Table | None

    @property
    def auc(self) -> float:
        """The ROC-AUC."""
        return float(self.judged["roc_auc"]["value"])


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run cost.

    Attributes:
        run: Name of its folder.
        method: "none", "lora" or "full".
        epoch_seconds: Mean over epochs, training only; None if nothing was trained.
        pairs_per_second: Of training; None if nothing was trained.
        largest_batch: Whose step stays within the memory limit; None if not measured.
        peak_memory_bytes: Of the whole run.
        trained_weights: How many.
        total_weights: Of the model, adapters not counted.
        saved_bytes: Size of the weights in the run folder.
        auc: Mean over sources.
        auc_below_best_percent: How far ``auc`` is below the best run's, in percent of that.
    """

    run: str
    method: str
    epoch_seconds: float | None
    pairs_per_second: float | None
    largest_batch: int | None
    peak_memory_bytes: int
    trained_weights: int
    total_weights: int
    saved_bytes: int
    auc: float
    auc_below_best_percent: float


@dataclass(frozen=True, kw_only=True)
class AgainstFull:
    """A LoRA run against the best full one of the same base model.

    Attributes:
        run: The LoRA run.
        full: The full run.
        auc_loss_percent: (full - lora) / full of the ROC-AUC in percent, by source; negative where LoRA is better.
        epoch_speedup: Seconds an epoch of the full run over those of the LoRA run.
        batch_ratio: Largest batch of the LoRA run over that of the full run; None if not measured.
    """

    run: str
    full: str
    auc_loss_percent: dict[str, float]
    epoch_speedup: float
    batch_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What ``trident compare`` prints: arms by source, costs by run."""

    sources: dict[str, tuple[ComparedArm, ...]]
    costs: tuple[Cost, ...]
    against_full: tuple[AgainstFull, ...]


def require_plot_suffix(path: Path) -> None:
    """Refuse a picture that is neither SVG nor PNG.

    Raises:
        ConfigError: Naming the file.
    """
    if path.suffix not in PLOT_SUFFIXES:
        raise ConfigError(f"--plot writes {' or '.join(PLOT_SUFFIXES)}, got {path}")


def compare_runs(
    folders: Sequence[Path],
    *,
    memory_limit_bytes: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Return the runs side by side.

    Args:
        folders: Run folders.
        memory_limit_bytes: When given, the largest batch of each run's recipe under it is measured.
        progress: Called with the name of the run that is measured.

    Raises:
        ConfigError: If there is no run, two have the same name, or memory of a reranker is to be measured.
        ModelError: If a folder is no run.
        DataError: If the runs have other test splits, or disagree about random, BM25 or the same base model.
    """
    runs = read_comparable(folders)
    names = list(dict.fromkeys(row["data"] for row in runs[0].report["test"]))
    sources = {name: (*_shared_arms(runs, name), *(_own_arm(run, name) for run in runs)) for name in names}
    largest: dict[str, int] = {}
    if memory_limit_bytes is not None:
        if rerankers := [run.name for run in runs if run.before != PRETRAINED]:
            raise ConfigError(f"--memory-limit measures steps of encoders, got {', '.join(rerankers)}, rerankers")
        for run in runs:
            if run.report["trained"] is not None:
                progress(run.name)
                largest[run.name] = _largest_batch(run, memory_limit_bytes)
    costs = _costs(runs, sources, largest)
    return Comparison(sources=sources, costs=costs, against_full=_against_full(runs, sources, costs))


def _shared_arms(runs: Sequence[ComparedRun], data: str) -> list[ComparedArm]:
    arms = [_agreed(runs, data, arm, name=arm) for arm in REFERENCES]
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(run.base, []).append(run)
    names = [_name_before(group[0], alone=len(groups) == 1) for group in groups.values()]
    for group, name in zip(groups.values(), names, strict=True):
        if names.count(name) > 1:  # one base model read in several ways, or several first stages
            name += f" ({', '.join(run.name for run in group)})"
        arms.append(_agreed(group, data, group[0].before, name=name))
    return arms


def _name_before(run: ComparedRun, *, alone: bool) -> str:
    return run.before if alone or run.before != PRETRAINED else f"{PRETRAINED} {run.report['base_model']}"


def _agreed(runs: Sequence[ComparedRun], data: str, arm: str, *, name: str) -> ComparedArm:
    rows = {run.name: run.row(data, arm) for run in runs}
    # a recipe may leave the catalogue unranked: the runs that ranked it speak for all
    first_run, first = next(((run, row) for run, row in rows.items() if row["catalogue"]), next(iter(rows.items())))
    for run, row in rows.items():
        figures, others = _figures(first), _figures(row)
        for measure in figures.keys() & others.keys():
            if abs(figures[measure] - others[measure]) > TOLERANCE:
                raise DataError(
                    f"{arm} must score the same in all runs, got {measure} {figures[measure]:.6f} in {first_run} and "
                    f"{others[measure]:.6f} in {run}{f' ({data})' if data else ''}: another catalogue or another "
                    "version of a library judged one of them; train it again"
                )
    return ComparedArm(name=name, run=None, judged=first["judged"], catalogue=first["catalogue"])


def _own_arm(run: ComparedRun, data: str) -> ComparedArm:
    row = run.row(data, run.trained_arm)
    name = f"{run.name} ({run.report['method']})"
    return ComparedArm(name=name, run=run.name, judged=row["judged"], catalogue=row["catalogue"])


def _figures(row: Table) -> dict[str, float]:
    judged = row["judged"]
    found = {f"ROC-AUC {key}": judged["roc_auc"][key] for key in ("value", "low", "high")}
    found |= {"NDCG@10": judged["ndcg_at_10"], "MRR@10": judged["mrr_at_10"]}
    return found | {
        f"catalogue {name}": float(value) for name, value in (row["catalogue"] or {}).items() if value is not None
    }


def _largest_batch(run: ComparedRun, limit_bytes: int) -> int:
    from trident_train.loop.batch_memory import largest_batch  # measures for minutes; nothing else here trains

    return largest_batch(from_table(TrainRecipe, run.recipe, where=str(run.folder / RECIPE_FILE)), limit_bytes)


def _aucs(sources: dict[str, tuple[ComparedArm, ...]], run: str) -> dict[str, float]:
    return {name: arm.auc for name, arms in sources.items() for arm in arms if arm.run == run}


def _costs(
    runs: Sequence[ComparedRun], sources: dict[str, tuple[ComparedArm, ...]], largest: dict[str, int]
) -> tuple[Cost, ...]:
    means = {run.name: float(np.mean(list(_aucs(sources, run.name).values()))) for run in runs}
    best = max(means.values())
    costs = []
    for run in runs:
        report = run.report
        epochs = [] if report["trained"] is None else report["trained"]["epochs"]
        seconds = [epoch["seconds"] for epoch in epochs]
        costs.append(
            Cost(
                run=run.name,
                method=report["method"],
                epoch_seconds=float(np.mean(seconds)) if epochs else None,
                pairs_per_second=sum(epoch["pairs"] for epoch in epochs) / sum(seconds) if epochs else None,
                largest_batch=largest.get(run.name),
                peak_memory_bytes=report["peak_memory_bytes"],
                trained_weights=report["trained_weights"],
                total_weights=report["total_weights"],
                saved_bytes=report["saved_bytes"],
                auc=means[run.name],
                auc_below_best_percent=100 * (best - means[run.name]) / best,
            )
        )
    return tuple(costs)


def _against_full(
    runs: Sequence[ComparedRun], sources: dict[str, tuple[ComparedArm, ...]], costs: Sequence[Cost]
) -> tuple[AgainstFull, ...]:
    cost_of = {cost.run: cost for cost in costs}
    found = []
    for run in runs:
        rivals = [other for other in runs if other.report["method"] == "full" and other.base == run.base]
        if run.report["method"] != "lora" or not rivals:
            continue
        full = max((cost_of[rival.name] for rival in rivals), key=lambda cost: cost.auc)
        lora = cost_of[run.name]
        assert full.epoch_seconds is not None
        assert lora.epoch_seconds is not None
        ours, theirs = _aucs(sources, run.name), _aucs(sources, full.run)
        batches = (lora.largest_batch, full.largest_batch)
        found.append(
            AgainstFull(
                run=run.name,
                full=full.run,
                auc_loss_percent={name: 100 * (theirs[name] - ours[name]) / theirs[name] for name in ours},
                epoch_speedup=full.epoch_seconds / lora.epoch_seconds,
                batch_ratio=None if batches[0] is None or batches[1] is None else batches[0] / batches[1],
            )
        )
    return tuple(found)

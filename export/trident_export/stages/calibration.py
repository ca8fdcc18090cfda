"""The stage that makes scores mean something: it fits maps to probabilities on what is served, and judges them."""

from __future__ import annotations

from typing import Any

from trident.config import to_table
from trident.errors import DataError
from trident.quality.reliability import Reliability, reliability
from trident.ranking.calibration import DENSE, RERANKER, TREES, Calibration, Kind, ScoreMap
from trident.ranking.fitting import fit_map
from trident_export.job import ExportJob
from trident_export.judge.reliability_figure import save_figure
from trident_export.stages.candidates import FoundBoth
from trident_export.stages.reranker import ExportedReranker
from trident_export.stages.trees import ExportedTrees

FIGURE_FILE = "calibration-{stage}.svg"


def export_calibration(
    job: ExportJob, found: FoundBoth, second: ExportedReranker | None, trees: ExportedTrees | None
) -> dict[str, Any]:
    """Return ``calibration``, the figures of each map that the generation gets; nothing where there can be none.

    Args:
        job: The export.
        found: What the first stage serves for validation queries and held-out ones.
        second: The second stage, whose logits get a map too; None: there is none.
        trees: The last stage, whose scores do; None: there is none.
    """
    with job.stages.stage("calibration") as notes:
        maps: dict[str, ScoreMap] = {}
        measured: dict[str, Reliability] = {}
        proofs = []
        judged = {DENSE: tuple(each.judged_cosines() for each in found)}
        if second is not None:
            judged[RERANKER] = (second.validation, second.held_out)
        if trees is not None:
            judged[TREES] = (trees.validation, trees.held_out)
        for stage, (validation, held_out) in judged.items():
            try:
                kinds: tuple[Kind, ...] = ("platt", "beta") if stage == DENSE else ("platt", "bent")
                fitted = fit_map(validation.scores, validation.labels, validation.queries, kinds=kinds)
                measured[stage] = reliability(held_out, fitted.probability(held_out.scores))
            except DataError as error:
                proofs.append(f"{stage}: none, {error}")
                continue
            maps[stage] = fitted
            proofs.append(f"{stage}: {line_of(measured[stage])}")
            save_figure(measured[stage], job.folder / FIGURE_FILE.format(stage=stage))
        notes.proof = "; ".join(proofs)
        if not maps:
            return {}
        notes.path = Calibration(maps=maps).save(job.parts)
    tables = {stage: to_table(each) for stage, each in measured.items()}
    return {"calibration": {"every_positive_known": found.held_out.every_positive_known, **tables}}


def line_of(measured: Reliability) -> str:
    """Return what was measured, in a line."""
    figures = [
        f"{name} {each.value:.4f} [{each.low:.4f}, {each.high:.4f}]"
        for name, each in (("calibration error", measured.error), ("Brier score", measured.brier))
    ]
    return (
        f"{', '.join(figures)} over {measured.candidates:,} candidates of {measured.queries:,} held-out queries, "
        f"{measured.relevant:.0%} of them relevant"
    )

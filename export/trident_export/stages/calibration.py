"""The stage that makes scores mean something: it fits maps to probabilities on what is served, and judges them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trident.config import to_table
from trident.data.pairs import Pairs, read_pairs
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.errors import DataError, ExportError
from trident.index.index import VectorIndex
from trident.quality.reliability import Candidates, Reliability, judged_candidates, reliability
from trident.ranking.calibration import DENSE, Calibration
from trident.ranking.fitting import fit_map
from trident_export.job import ExportJob
from trident_export.judge.reliability_figure import save_figure
from trident_export.stages.answers import served_queries

VALIDATION_PAIRS_FILE = "validation.parquet"
RECIPE_FILE = "recipe.json"
CANDIDATES = 20  # of each query: two pages of ten
FIGURE_FILE = "calibration.svg"


@dataclass(frozen=True)
class JudgedStage:
    """Candidates that a stage scored for the validation queries, and for the held-out ones."""

    validation: Candidates
    held_out: Candidates


def export_calibration(
    job: ExportJob, served: ServedEncoder, tokenizer: TextTokenizer, index: VectorIndex
) -> dict[str, Any]:
    """Return ``calibration``, the figures of each map that the generation gets; nothing where there can be none."""
    with job.stages.stage("calibration") as notes:
        known = every_positive_known(job.order.run)
        try:
            stage = _candidates(job, served, tokenizer, index, every_positive_known=known)
            calibration, measured = fit_and_judge(stage)
        except DataError as error:
            notes.proof = f"none: {error}"
            return {}
        notes.path = calibration.save(job.parts)
        notes.proof = line_of(measured)
        save_figure(measured, job.folder / FIGURE_FILE)
    return {"calibration": {"every_positive_known": known, DENSE: to_table(measured)}}


def fit_and_judge(stage: JudgedStage) -> tuple[Calibration, Reliability]:
    """Return the map of cosines, fitted on validation queries, and how far it can be believed on held-out ones.

    Raises:
        DataError: If there is too little to fit or to judge.
    """
    fitted = stage.validation
    cosines = fit_map(fitted.scores, fitted.labels, fitted.queries, kinds=("platt", "beta"))
    measured = reliability(stage.held_out, cosines.probability(stage.held_out.scores))
    return Calibration(maps={DENSE: cosines}), measured


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


def every_positive_known(run: Path) -> bool:
    """Return whether a run says of all its sources that a product without a label is irrelevant.

    Raises:
        ExportError: If its recipe is missing or damaged.
    """
    path = run / RECIPE_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        sources = list((data.get("sources") or {"": data}).values())
        return all(bool(source.get("every_positive_known", False)) for source in sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"recipe {path} is missing or damaged ({error!r}): train again") from error


def _candidates(
    job: ExportJob, served: ServedEncoder, tokenizer: TextTokenizer, index: VectorIndex, *, every_positive_known: bool
) -> JudgedStage:
    path = job.order.run / VALIDATION_PAIRS_FILE
    if not path.is_file():
        raise DataError(f"{job.order.run} has no {VALIDATION_PAIRS_FILE}: train again")
    judged: list[Candidates] = []
    for pairs, source in ((read_pairs(path), path), (job.pairs, job.order.run)):
        queries = job.queries if pairs is job.pairs else served_queries(pairs.queries, source)
        found = index.search(served.embed_ids(tokenizer.token_ids(queries, "query"), pad_id=tokenizer.pad_id), _k(job))
        hits = {
            query: _hits(job.catalogue.product_ids, found.rows[row].tolist(), found.scores[row].tolist())
            for row, query in enumerate(queries)
        }
        judged.append(judged_candidates(pairs, hits, every_positive_known=every_positive_known and _meets(job, pairs)))
    return JudgedStage(*judged)


def _k(job: ExportJob) -> int:
    return min(CANDIDATES, len(job.catalogue))


def _meets(job: ExportJob, pairs: Pairs) -> bool:
    """Return whether the catalogue holds a relevant product: of another one, nothing is known."""
    relevant = {product for product, label in zip(pairs.product_ids, pairs.labels, strict=True) if label}
    return bool(job.catalogue.texts[0].rows_of(relevant))


def _hits(product_ids: Sequence[str], rows: list[int], scores: list[float]) -> list[tuple[str, float]]:
    return [(product_ids[row], float(np.float32(score))) for row, score in zip(rows, scores, strict=True) if row >= 0]

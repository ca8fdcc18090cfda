"""The stages that ask what will be served: golden answers, and quality on the held-out pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trident.encoder.base_model import file_sha256
from trident.generation.generation import GOLDEN_FILE, TEST_PAIRS_FILE
from trident.generation.golden import save_golden
from trident.quality.measuring import measure_quality
from trident.ranking.calibration import Calibration
from trident.ranking.reranking import Reranker
from trident.ranking.trees import TREES_FILE, Trees
from trident.search.searcher import Searcher
from trident.search.second_stage import SecondStage
from trident_export.job import ExportJob
from trident_export.stages.reranker import ExportedReranker

GOLDEN_QUERIES = 50


def answer_golden(job: ExportJob, searcher: Searcher, second: ExportedReranker | None = None) -> None:
    """Write the golden queries with the answers that this generation gives.

    Args:
        job: The export.
        searcher: The first stage, as it will be served.
        second: The second; None: there is none.
    """
    with job.stages.stage("golden") as notes:
        queries = job.queries[:GOLDEN_QUERIES]
        served = searcher if second is None else replace(searcher, second_stage=_second_stage(job, second))
        answers = served.golden(queries)
        save_golden(answers, job.folder / GOLDEN_FILE)
        left_out = len(set(job.pairs.queries)) - len(job.queries)
        more = f", {left_out} of the held-out ones are longer than a server takes" if left_out else ""
        if by_vectors := len(answers) - len(queries):  # where words had a part: another variant sees vectors only
            more = f", {by_vectors} of them by vectors alone as well{more}"
        notes.path, notes.proof = job.folder / GOLDEN_FILE, f"{len(queries)} queries answered{more}"


def judge_quality(job: ExportJob, searcher: Searcher) -> dict[str, Any]:
    """Return the figures on the held-out pairs, which the generation keeps; see ``measure_quality``."""
    with job.stages.stage("quality") as notes:
        job.pairs.save(job.folder / TEST_PAIRS_FILE)
        quality = measure_quality(job.pairs, searcher)
        notes.path, notes.proof = job.folder / TEST_PAIRS_FILE, _line(quality)
    return quality


def _line(quality: dict[str, Any]) -> str:
    judged = quality["judged"]
    line = f"held-out ROC-AUC {judged['roc_auc']['value']:.4f}, NDCG@10 {judged['ndcg_at_10']:.4f}"
    if "catalogue" in quality:
        line += f"; whole catalogue NDCG@10 {quality['catalogue']['ndcg_at_10']:.4f}"
    return line


def _second_stage(job: ExportJob, second: ExportedReranker) -> SecondStage:
    """Return the second stage in its defaults; no budget cuts golden answers."""
    path = job.parts / TREES_FILE
    trees = Trees.load(job.parts, sha256=file_sha256(path)) if path.is_file() else None
    reranker = Reranker(second.scorer, second.tokenizer)
    return SecondStage(reranker, Calibration(), second.rerank, trees=trees, weight=second.weight)

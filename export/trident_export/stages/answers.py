"""The stages that ask what will be served: golden answers, and quality on the held-out pairs."""

from __future__ import annotations

from typing import Any

from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.generation.generation import GOLDEN_FILE, TEST_PAIRS_FILE
from trident.generation.golden import GOLDEN_K, save_golden
from trident.index.index import VectorIndex
from trident.quality.measuring import measure_quality
from trident.ranking.reranking import Reranker
from trident_export.job import ExportJob
from trident_export.judge.golden import golden_answers, reranked_answers
from trident_export.stages.reranker import ExportedReranker

GOLDEN_QUERIES = 50


def answer_golden(
    job: ExportJob,
    served: ServedEncoder,
    tokenizer: TextTokenizer,
    index: VectorIndex,
    second: ExportedReranker | None = None,
) -> None:
    """Write the golden queries with the answers that this generation gives."""
    with job.stages.stage("golden") as notes:
        queries = job.queries[:GOLDEN_QUERIES]
        if second is None or not second.rerank:
            answers = golden_answers(queries, served, tokenizer, index, job.catalogue)
        else:
            reranker = Reranker(second.scorer, second.tokenizer)
            depth = max(GOLDEN_K, second.rerank)
            candidates = golden_answers(queries, served, tokenizer, index, job.catalogue, k=depth)
            answers = reranked_answers(candidates, reranker, job.catalogue, second.rerank)
        save_golden(answers, job.folder / GOLDEN_FILE)
        left_out = len(set(job.pairs.queries)) - len(job.queries)
        more = f", {left_out} of the held-out ones are longer than a server takes" if left_out else ""
        notes.path, notes.proof = job.folder / GOLDEN_FILE, f"{len(answers)} queries answered{more}"


def judge_quality(
    job: ExportJob, served: ServedEncoder, tokenizer: TextTokenizer, index: VectorIndex
) -> dict[str, Any]:
    """Return the figures on the held-out pairs, which the generation keeps; see ``measure_quality``."""
    with job.stages.stage("quality") as notes:
        job.pairs.save(job.folder / TEST_PAIRS_FILE)
        quality = measure_quality(job.pairs, served, tokenizer, index, job.catalogue)
        notes.path, notes.proof = job.folder / TEST_PAIRS_FILE, _line(quality)
    return quality


def _line(quality: dict[str, Any]) -> str:
    judged = quality["judged"]
    line = f"held-out ROC-AUC {judged['roc_auc']['value']:.4f}, NDCG@10 {judged['ndcg_at_10']:.4f}"
    if "catalogue" in quality:
        line += f"; whole catalogue NDCG@10 {quality['catalogue']['ndcg_at_10']:.4f}"
    return line

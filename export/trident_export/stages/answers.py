"""The stages that ask what will be served: golden answers, and quality on the held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.errors import DataError, ExportError
from trident.generation.generation import GOLDEN_FILE, TEST_PAIRS_FILE
from trident.generation.golden import save_golden
from trident.index.index import VectorIndex
from trident.quality.measuring import measure_quality
from trident.search.requests import check_size
from trident_export.job import ExportJob
from trident_export.judge.golden import golden_answers

GOLDEN_QUERIES = 50


def served_queries(queries: Sequence[str], path: Path) -> list[str]:
    """Return the queries that a server takes, each once: what is exported with the others could not be served.

    Args:
        queries: Of the held-out pairs.
        path: Where they are from, for errors.

    Raises:
        ExportError: If there is none; the message says what is wrong with the first.
    """
    distinct = dict.fromkeys(queries)
    faults = {query: fault for query in distinct if (fault := _fault(query)) is not None}
    if len(faults) == len(distinct):
        raise ExportError(
            f"held-out queries must be ones that a server takes, to be golden, got none of {len(distinct)}: "
            f"{next(iter(faults.values()), 'there are none')} ({path}): train with shorter test queries"
        )
    return [query for query in distinct if query not in faults]


def _fault(query: str) -> str | None:
    try:
        check_size(query)
    except DataError as error:
        return str(error)
    return None


def answer_golden(job: ExportJob, served: ServedEncoder, tokenizer: TextTokenizer, index: VectorIndex) -> None:
    """Write the golden queries with the answers that this generation gives."""
    with job.stages.stage("golden") as notes:
        answers = golden_answers(job.queries[:GOLDEN_QUERIES], served, tokenizer, index, job.catalogue)
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

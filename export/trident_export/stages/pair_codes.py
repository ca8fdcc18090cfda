"""A reranker in lower precision: what it is held against, and the stage that makes the kernels' integers of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trident.encoder.graph_files import CODES_FILE, GRAPH_FILES
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError, ModelError
from trident.ranking.pair_scorer import PREFIX, KernelScorer, PairScorer, reranker_fault
from trident_export.graphs.int8_codes import write_codes
from trident_export.job import ExportJob
from trident_export.judge.rerank_quality import FoundProducts, Logits, change_of

PAIRS = 64  # that are scored alone and together


@dataclass(frozen=True, eq=False)
class Reference:
    """What float32 says of the candidates of validation queries.

    Attributes:
        found: They.
        tokenizer: With the text contract.
        logits: By query.
        weight: Of a logit beside the first stage's score, as it will be served.
        reranked: Candidates of a query that are scored.
    """

    found: FoundProducts
    tokenizer: TextTokenizer
    logits: Logits
    weight: float
    reranked: int

    def judged(self, scorer: PairScorer, overlap_target: float) -> tuple[bool, str]:
        """Return whether a scorer ranks as float32 does, and that in words."""
        found = self.found
        lower = found.logits(scorer, self.tokenizer, self.reranked)
        ours, theirs = found.mixed(lower, self.weight), found.mixed(self.logits, self.weight)
        both = zip(found.best(ours), found.best(theirs), strict=True)
        overlap = float(np.mean([len(set(one) & set(other)) / max(len(other), 1) for one, other in both]))
        change = change_of(found.ndcg(ours), found.ndcg(theirs))
        finite = all(np.isfinite(each).all() for each in lower.values())
        kept = finite and overlap >= overlap_target and change.high >= 0
        return kept, (
            f"{'' if kept else 'not shipped: '}overlap@10 with float32 {overlap:.4f}, NDCG@10 {change.value:+.4f} "
            f"[{change.low:+.4f}, {change.high:+.4f}]"
        )


def export_pair_codes(job: ExportJob, folder: Path, reference: Reference) -> KernelScorer | None:
    """Write the integers of the 8-bit graph for the kernels where they rank as float32 does; return their scorer.

    The file is not there afterwards where the kernels cannot run it, or fail: None.

    Args:
        job: The export.
        folder: Of the reranker, with the padded 8-bit graph.
        reference: What float32 says.

    Raises:
        ExportError: If a pair's logit depends on what else is in its batch.
    """
    graph, codes = folder / GRAPH_FILES["int8"], folder / CODES_FILE
    with job.stages.stage("reranker int8 kernels") as notes:
        fault = reranker_fault(folder, graph)  # of 8 bits: the integers are made of the graph's
        if fault is not None:
            notes.proof = f"not made: {fault}"
            return None
        try:
            write_codes(graph, folder, codes, prefix=PREFIX)
            scorer = KernelScorer.load(folder, codes=codes, threads=job.config.threads)
            kept, notes.proof = reference.judged(scorer, job.config.precision.overlap_target)
        except (ExportError, ModelError) as error:
            kept, notes.proof = False, f"not shipped: {error}"
        if not kept:
            codes.unlink(missing_ok=True)
            return None
        rows = reference.found.rows(reference.tokenizer, 4)[:PAIRS]
        alone = np.concatenate([scorer.score([row]) for row in rows])
        if not np.array_equal(alone, scorer.score(rows)):
            raise ExportError("the 8-bit kernels must give a pair the same logit alone and in a batch, to the last bit")
        notes.path = codes
        notes.proof += "; logits do not differ from batch to batch"
    return scorer

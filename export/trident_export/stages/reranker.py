"""The stages that make the second stage: merge, graph, parity, kernels, lower precisions, and what it gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trident.config import to_table
from trident.encoder.base_model import file_sha256
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.graph_files import GRAPH_FILES, ONNX_FILE, graph_sha256
from trident.encoder.pairs import PairRow, pad_pairs, pair_rows
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError, ModelError
from trident.generation.generation import RERANKER_FOLDER
from trident.quality.reliability import Candidates
from trident.ranking.pair_scorer import (
    PAIR_CODES_FILE,
    GraphScorer,
    KernelScorer,
    PairScorer,
    reranker_fault,
    token_kinds,
)
from trident_export.config import ExportConfig
from trident_export.graphs.graphs import make_graph
from trident_export.graphs.kept import graph_key, kept_or_made
from trident_export.graphs.pair_graph import PairGraph, export_pair_graph
from trident_export.job import ExportJob
from trident_export.judge.rerank_quality import FoundProducts, PairReference, change_of
from trident_export.judge.share import choose_share
from trident_export.merge.reranker import load_classifier, merge_reranker
from trident_export.stages.candidates import FoundBoth
from trident_export.stages.kernels import export_pair_codes

PROBES = 128  # pairs of real texts
LARGEST_DIFFERENCE = 1e-3  # of a logit, between two ways that compute in float32
CALIBRATION_PAIRS = 256


@dataclass(frozen=True)
class ExportedReranker:
    """The second stage of a generation.

    Attributes:
        fingerprint: Of weights, tokenizer and text contract together.
        parts: Hash of each part that answers depend on.
        rerank: Candidates that it gets where a request does not say; 0: it did not gain on validation queries.
        weight: Of the logit beside the first stage's score.
        precision: That a CPU computes in.
        validation: Judged candidates of validation queries with the scores of both stages together.
        held_out: The same of held-out queries.
        quality: What was measured.
        scorer: As it is served here.
        tokenizer: Of its text contract.
        logits: Of the candidates of validation queries, and of held-out ones.
    """

    fingerprint: str
    parts: dict[str, str]
    rerank: int
    weight: float
    precision: str
    validation: Candidates
    held_out: Candidates
    quality: dict[str, Any]
    scorer: PairScorer
    tokenizer: TextTokenizer
    logits: tuple[dict[str, NDArray[np.float32]], ...]


def export_reranker(job: ExportJob, found: FoundBoth) -> ExportedReranker | None:
    """Return the second stage made of the run that was asked for; None where none was.

    Raises:
        TridentError: If a stage does not prove itself.
    """
    run, config = job.order.reranker, job.config
    if run is None:
        return None
    folder = job.folder / RERANKER_FOLDER
    folder.mkdir()
    with job.stages.stage("reranker") as notes:
        proof = merge_reranker(run, folder)
        notes.path = folder
        notes.proof = (
            f"merged, differs from base + adapter by {proof.difference_to_adapter:.1e}"
            if proof.adapter
            else "whole weights, nothing to merge"
        )
    tokenizer = TextTokenizer.load(folder, TextContract.load(folder))
    fingerprint = encoder_fingerprint(part_fingerprints(folder, tokenizer))
    probes = _probes(found.held_out, tokenizer)
    with job.stages.stage("reranker onnx") as notes:
        graph = PairGraph(load_classifier(folder)).eval()
        make = partial(export_pair_graph, graph, folder / ONNX_FILE, fingerprint=fingerprint)
        key = graph_key(fingerprint, "reranker")
        model, _ = kept_or_made(key, folder / ONNX_FILE, make, reuse=config.reuse_graph)
        load = partial(
            GraphScorer.load,
            fingerprint=fingerprint,
            pad_id=tokenizer.pad_id,
            kinds=max(token_kinds(folder), 1),
            threads=config.threads,
        )
        fp32 = load(folder / ONNX_FILE)
        difference = _require_equal("its graph", fp32, _torch_logits(graph, tokenizer, probes), probes)
        notes.path = folder / ONNX_FILE
        notes.proof = f"{len(model.graph.node)} nodes, logits differ from PyTorch by at most {difference:.1e}"
    exact = _kernels(job, folder, fp32, probes)
    logits = found.validation.logits(exact, tokenizer, config.reranked)
    weight = choose_share(found.validation, logits, weight=config.rerank_weight).weight
    reference = PairReference(found.validation, tokenizer, logits, weight, config.reranked)
    made: dict[str, GraphScorer | KernelScorer | None] = {
        name: _low_precision(job, name, folder, reference, load)
        for name in ("fp16", "int8")
        if name in config.precision.made
    }
    if made.get("int8") is not None:
        made["int8"] = export_pair_codes(job, folder, reference) or made["int8"]
    lower = made.get(config.precision.served)
    if lower is None or (isinstance(exact, KernelScorer) and isinstance(lower, GraphScorer)):
        return _judged(job, found, exact, tokenizer, fingerprint, "fp32")  # the faster one
    return _judged(job, found, lower, tokenizer, fingerprint, config.precision.served)


def served_second_stage(second: ExportedReranker | None, config: ExportConfig) -> dict[str, Any]:
    """Return what the identity of a generation says of its second stage."""
    if second is None:
        return {}
    return {
        "reranker": second.fingerprint,
        "reranker_precision": second.precision,
        "rerank": second.rerank,
        "rerank_weight": second.weight,
        "rerank_budget_ms": config.rerank_budget_ms,
    }


def _judged(
    job: ExportJob,
    found: FoundBoth,
    scorer: PairScorer,
    tokenizer: TextTokenizer,
    fingerprint: str,
    precision: str,
) -> ExportedReranker:
    config, folder = job.config, job.folder / RERANKER_FOLDER
    with job.stages.stage("reranking") as notes:
        of_both = [side.logits(scorer, tokenizer, config.reranked) for side in found]
        share = choose_share(found.validation, of_both[0], weight=config.rerank_weight)
        mixed = [side.mixed(logits, share.weight) for side, logits in zip(found, of_both, strict=True)]
        old, new = found.held_out.ndcg(), found.held_out.ndcg(mixed[1])
        chosen, held_out = share.change, change_of(new, old)
        before, after = (float(np.mean(list(each.values()))) for each in (old, new))
        rerank = config.rerank if config.rerank is not None else config.reranked if chosen.low > 0 else 0
        said = "on" if rerank else "off where a request does not ask"
        notes.proof = (
            f"{said}: NDCG@10 of validation queries {chosen.value:+.4f} [{chosen.low:+.4f}, {chosen.high:+.4f}], the "
            f"logit's share {share.weight:g}; of held-out ones {before:.4f} to {after:.4f}, {held_out.value:+.4f} "
            f"[{held_out.low:+.4f}, {held_out.high:+.4f}]"
        )
    quality = {
        "candidates": config.reranked,
        "first_stage_ndcg_at_10": before,
        "ndcg_at_10": after,
        "change": to_table(held_out),
        "validation_change": to_table(chosen),
        "weight": share.weight,
        "gains_by_weight": {f"{weight:g}": gain for weight, gain in share.gains.items()},
    }
    graphs = {name: folder / file for name, file in GRAPH_FILES.items() if (folder / file).is_file()}
    parts = {
        "reranker": fingerprint,
        **{f"reranker/{name}": graph_sha256(path) for name, path in graphs.items()},
        **_codes_part(folder),
        "rerank": f"{rerank} candidates, {config.rerank_budget_ms} ms, {precision}, {share.weight:g}",
    }
    return ExportedReranker(
        fingerprint=fingerprint,
        parts=parts,
        rerank=rerank,
        weight=share.weight,
        precision=precision,
        validation=found.validation.judged_logits(mixed[0]),
        held_out=found.held_out.judged_logits(mixed[1]),
        quality={"reranked": quality},
        scorer=scorer,
        tokenizer=tokenizer,
        logits=tuple(of_both),
    )


def _codes_part(folder: Path) -> dict[str, str]:
    path = folder / PAIR_CODES_FILE
    return {"reranker/codes/int8": file_sha256(path)} if path.is_file() else {}


def _probes(found: FoundProducts, tokenizer: TextTokenizer) -> list[PairRow]:
    """Return real pairs, and pairs of every length up to the longest."""
    rows = found.rows(tokenizer, 4)[:PROBES]
    long = pair_rows(tokenizer, ["word " * 600], ["word " * 600])[0]
    lengths = range(long.query_tokens + 1, len(long.ids) + 1)
    return rows + [PairRow(long.ids[:length], long.query_tokens) for length in lengths]


def _torch_logits(graph: PairGraph, tokenizer: TextTokenizer, rows: list[PairRow]) -> NDArray[np.float32]:
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), 16):
            batch = pad_pairs(rows[start : start + 16], pad_id=tokenizer.pad_id, kinds=graph.kinds)
            tensors = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
            parts.append(graph(*map(torch.from_numpy, tensors)).numpy()[:, 0])
    return np.concatenate(parts)


def _require_equal(what: str, scorer: PairScorer, expected: NDArray[np.float32], rows: list[PairRow]) -> float:
    """Return the largest difference of a logit.

    Raises:
        ExportError: If it is too large, or a logit is no number.
    """
    found = scorer.score(rows)
    difference = float(np.abs(found - expected).max()) if np.isfinite(found).all() else float("nan")
    if not difference <= LARGEST_DIFFERENCE:  # NaN too
        raise ExportError(
            f"logits of the reranker by {what} must be those of PyTorch within {LARGEST_DIFFERENCE:g}, got a "
            f"difference of {difference:.2g}"
        )
    return difference


def _kernels(job: ExportJob, folder: Path, graph: GraphScorer, probes: list[PairRow]) -> PairScorer:
    """Return the kernels where they can run the reranker, proven against the graph; else the graph."""
    with job.stages.stage("reranker kernels") as notes:
        fault = reranker_fault(folder)
        if fault is not None:
            notes.proof = f"not used, the graph is served: {fault}"
            return graph
        import trident_kernels  # here: there is a fault where it is not installed

        expected = graph.score(probes)
        scorers = [
            KernelScorer.load(folder, threads=job.config.threads, instructions=name)
            for name in trident_kernels.instructions()
        ]
        differences = [_require_equal("the kernels", each, expected, probes) for each in scorers]
        alone = np.concatenate([scorers[0].score([row]) for row in probes])
        if not np.array_equal(alone, scorers[0].score(probes)):
            raise ExportError("the kernels must give a pair the same logit alone and in a batch, to the last bit")
        notes.proof = f"logits differ from the graph by at most {max(differences):.1e}, and not from batch to batch"
        return scorers[0]


def _low_precision(
    job: ExportJob, name: str, folder: Path, reference: PairReference, load: Callable[[Path], GraphScorer]
) -> GraphScorer | None:
    """Return a graph of lower precision that ranks as float32 does; None: it is not kept."""
    path = folder / GRAPH_FILES[name]
    with job.stages.stage(f"reranker {name}") as notes:
        rows = reference.found.rows(reference.tokenizer, 4)[:CALIBRATION_PAIRS]
        kinds = max(token_kinds(folder), 1)
        starts = range(0, len(rows), 16)
        pad_id = reference.tokenizer.pad_id
        batches = [pad_pairs(rows[start : start + 16], pad_id=pad_id, kinds=kinds) for start in starts]
        try:
            make_graph(name, folder / ONNX_FILE, path, batches, threads=job.config.threads)
            scorer = load(path)
            kept, notes.proof = reference.judged(scorer, job.config.precision.overlap_target)
        except (ExportError, ModelError) as error:
            path.unlink(missing_ok=True)
            notes.proof = f"not shipped: {error}"
            return None
        if not kept:
            path.unlink(missing_ok=True)
            return None
        notes.path = path
    return scorer

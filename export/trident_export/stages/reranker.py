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
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.graph_files import GRAPH_FILES, ONNX_FILE, graph_sha256
from trident.encoder.pairs import PairRow, pad_pairs, pair_rows
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError, ModelError
from trident.generation.generation import RERANKER_FOLDER
from trident.quality.metrics import Interval
from trident.quality.reliability import Candidates
from trident.ranking.pair_scorer import GraphScorer, KernelScorer, PairScorer, reranker_fault, token_kinds
from trident_export.config import ExportConfig
from trident_export.graphs.graphs import make_graph
from trident_export.graphs.kept import graph_key, kept_or_made
from trident_export.graphs.pair_graph import PairGraph, export_pair_graph
from trident_export.job import ExportJob
from trident_export.judge.rerank_quality import FoundProducts, change_of
from trident_export.merge.reranker import load_classifier, merge_reranker
from trident_export.stages.candidates import FoundBoth

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
        precision: Of the graph that a CPU runs.
        validation: Judged candidates of validation queries with their logits.
        held_out: The same of held-out queries.
        quality: What was measured.
        scorer: As it is served here.
        tokenizer: Of its text contract.
        logits: Of the candidates of validation queries, and of held-out ones.
    """

    fingerprint: str
    parts: dict[str, str]
    rerank: int
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
    scorer, precision = _kernels(job, folder, fp32, probes), "fp32"
    logits = found.validation.logits(scorer, tokenizer, config.reranked)
    for name in ("fp16", "int8"):
        if name in config.precision.made:
            made = _low_precision(job, name, folder, found.validation, logits, tokenizer, load)
            if made is not None and name == config.precision.served and isinstance(scorer, GraphScorer):
                scorer, precision = made, name
    return _judged(job, found, scorer, tokenizer, fingerprint, precision)


def served_second_stage(second: ExportedReranker | None, config: ExportConfig) -> dict[str, Any]:
    """Return what the identity of a generation says of its second stage."""
    if second is None:
        return {}
    return {
        "reranker": second.fingerprint,
        "reranker_precision": second.precision,
        "rerank": second.rerank,
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
        changes: list[Interval] = []
        judged: list[Candidates] = []
        of_both: list[dict[str, NDArray[np.float32]]] = []
        means = []
        for side in found:
            logits = side.logits(scorer, tokenizer, config.reranked)
            old, new = side.ndcg(), side.ndcg(logits)
            changes.append(change_of(new, old))
            means.append((float(np.mean(list(old.values()))), float(np.mean(list(new.values())))))
            judged.append(side.judged_logits(logits))
            of_both.append(logits)
        rerank = config.rerank if config.rerank is not None else config.reranked if changes[0].low > 0 else 0
        said = "on" if rerank else "off where a request does not ask"
        (chosen, held_out), (before, after) = changes, means[1]
        notes.proof = (
            f"{said}: NDCG@10 of validation queries {chosen.value:+.4f} [{chosen.low:+.4f}, {chosen.high:+.4f}]; of "
            f"held-out ones {before:.4f} to {after:.4f}, {held_out.value:+.4f} [{held_out.low:+.4f}, "
            f"{held_out.high:+.4f}]"
        )
    quality = {
        "candidates": config.reranked,
        "first_stage_ndcg_at_10": before,
        "ndcg_at_10": after,
        "change": to_table(held_out),
        "validation_change": to_table(chosen),
    }
    graphs = {name: folder / file for name, file in GRAPH_FILES.items() if (folder / file).is_file()}
    parts = {
        "reranker": fingerprint,
        **{f"reranker/{name}": graph_sha256(path) for name, path in graphs.items()},
        "rerank": f"{rerank} candidates, {config.rerank_budget_ms} ms, {precision}",
    }
    return ExportedReranker(
        fingerprint=fingerprint,
        parts=parts,
        rerank=rerank,
        precision=precision,
        validation=judged[0],
        held_out=judged[1],
        quality={"reranked": quality},
        scorer=scorer,
        tokenizer=tokenizer,
        logits=tuple(of_both),
    )


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


def _low_precision(  # noqa: PLR0913 - what a graph is made of and judged by
    job: ExportJob,
    name: str,
    folder: Path,
    found: FoundProducts,
    logits: dict[str, NDArray[np.float32]],
    tokenizer: TextTokenizer,
    load: Callable[[Path], GraphScorer],
) -> GraphScorer | None:
    """Return a graph of lower precision that ranks as float32 does; None: it is not kept."""
    path, config = folder / GRAPH_FILES[name], job.config
    with job.stages.stage(f"reranker {name}") as notes:
        rows = found.rows(tokenizer, 4)[:CALIBRATION_PAIRS]
        kinds = max(token_kinds(folder), 1)
        starts = range(0, len(rows), 16)
        batches = [pad_pairs(rows[start : start + 16], pad_id=tokenizer.pad_id, kinds=kinds) for start in starts]
        try:
            make_graph(name, folder / ONNX_FILE, path, batches, threads=config.threads)
            scorer = load(path)
            lower = found.logits(scorer, tokenizer, config.reranked)
        except (ExportError, ModelError) as error:
            path.unlink(missing_ok=True)
            notes.proof = f"not shipped: {error}"
            return None
        both = zip(found.best(lower), found.best(logits), strict=True)
        overlap = float(np.mean([len(set(one) & set(other)) / max(len(other), 1) for one, other in both]))
        change = change_of(found.ndcg(lower), found.ndcg(logits))
        finite = all(np.isfinite(each).all() for each in lower.values())
        kept = finite and overlap >= config.precision.overlap_target and change.high >= 0
        notes.proof = (
            f"{'' if kept else 'not shipped: '}overlap@10 with float32 {overlap:.4f}, NDCG@10 {change.value:+.4f} "
            f"[{change.low:+.4f}, {change.high:+.4f}]"
        )
        if not kept:
            path.unlink(missing_ok=True)
            return None
        notes.path = path
    return scorer

"""The stages that make the encoder: merge, ONNX, parity, and graphs of lower precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.graph_files import GRAPH_FILES, ONNX_FILE, UNPADDED_FILES
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError
from trident_export.graphs.graphs import calibration_batches, make_graph
from trident_export.graphs.kept import graph_key, kept_or_made
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.job import ExportJob
from trident_export.judge.parity import Expected, ProbeTexts, prove_parity, torch_embeddings
from trident_export.judge.precisions import PrecisionProof, Reference, judge_precision, measure_speed
from trident_export.merge.merge import load_backbone, merge
from trident_export.stages.kernels import export_codes, prove_kernels
from trident_export.stages.unpadded import export_unpadded

PARITY_TEXTS = 64  # of each side, beside the probes
RECALL_QUERIES = 1000  # held-out ones that precisions and the index are asked


@dataclass(frozen=True)
class Encoder:
    """The exported encoder."""

    folder: Path  # of the merged model
    fingerprint: str  # of all three together
    fingerprints: dict[str, str]  # weights, tokenizer and text contract
    graph: OnnxEncoder  # float32, as a CPU runs it
    tokenizer: TextTokenizer


def export_encoder(job: ExportJob) -> Encoder:
    """Merge, convert and prove the encoder of a run.

    Raises:
        TridentError: If a stage does not prove itself.
    """
    stages, merged, parts = job.stages, job.merged, job.parts
    with stages.stage("merge") as notes:
        proof = merge(job.order.run, merged)
        notes.path = merged
        notes.proof = (
            f"differs from base by {proof.difference_to_base:.2g}, "
            f"from base + adapter by {proof.difference_to_adapter:.1e}"
            if proof.adapter
            else "whole weights, nothing to merge"
        )
    contract = TextContract.load(merged)
    tokenizer = TextTokenizer.load(merged, contract)
    fingerprints = part_fingerprints(merged, tokenizer)
    fingerprint = encoder_fingerprint(fingerprints)
    with stages.stage("onnx") as notes:
        graph = EncoderGraph(load_backbone(merged), contract).eval()
        output = notes.path = parts / ONNX_FILE
        make = partial(export_onnx, graph, output, encoder_fingerprint=fingerprint)
        model, kept = kept_or_made(graph_key(fingerprint), output, make, reuse=job.config.reuse_graph)
        how = "as an earlier export made it" if kept else "checked"
        notes.proof = f"{how}, {len(model.graph.node)} nodes, opset {model.opset_import[0].version}"
    with stages.stage("parity") as notes:
        encoder = load_graph(parts / ONNX_FILE, fingerprint, job.config.threads)
        probes = ProbeTexts(tokenizer, job.queries, job.catalogue.titles).first(PARITY_TEXTS)
        expected = Expected(partial(torch_embeddings, graph), "PyTorch")
        parity = prove_parity(encoder, expected, probes)
        notes.proof = f"cosine to PyTorch >= {parity.smallest_cosine:.7f} over {parity.texts} texts"
    encoder = export_unpadded(stages, "fp32", encoder, parts / UNPADDED_FILES["fp32"], probes, expected)
    prove_kernels(job, encoder, probes, expected)
    return Encoder(merged, fingerprint, fingerprints, encoder, tokenizer)


def load_graph(path: Path, fingerprint: str, threads: int) -> OnnxEncoder:
    """Return the encoder of a graph that must be of a fingerprint."""
    return OnnxEncoder.load(path, threads=threads, encoder_fingerprint=fingerprint)


def export_precisions(job: ExportJob, encoder: Encoder, vectors: NDArray[np.float32]) -> list[PrecisionProof]:
    """Make and judge the graphs of lower precision; what fails is left out, or refuses the export if it is needed.

    Raises:
        ExportError: If a precision that is served or built from fails.
    """
    pairs, titles, parts, config = job.pairs, job.catalogue.titles, job.parts, job.config
    if not config.precision.made:
        return []  # float32 need not be asked what it finds
    reference = Reference(encoder.graph, encoder.tokenizer, pairs, job.queries[:RECALL_QUERIES], vectors)
    calibration = calibration_batches(encoder.tokenizer, titles)
    proofs = []
    for name in config.precision.made:
        with job.stages.stage(name) as notes:
            path = parts / GRAPH_FILES[name]
            proof = judge_precision(
                name,
                partial(
                    make_graph,
                    *(name, parts / ONNX_FILE, path, calibration),
                    probes=ProbeTexts(encoder.tokenizer, pairs.queries, pairs.titles).first(64).batches(),
                    threads=config.threads,
                ),
                reference,
                load=partial(load_graph, fingerprint=encoder.fingerprint, threads=config.threads),
                overlap_target=config.precision.overlap_target,
            )
            if not proof.shipped:
                path.unlink(missing_ok=True)
                if why := config.needed_for(name):
                    raise ExportError(f"{name} is {why}, and is not fit for it: {proof.reason}")
            else:
                one = load_graph(parts / ONNX_FILE, encoder.fingerprint, config.threads)
                speed = measure_speed({"fp32": one, name: load_graph(path, encoder.fingerprint, config.threads)})
                notes.speed = ", ".join(
                    f"{shape} {ms:.1f} ms (fp32 {speed['fp32'][shape]:.1f})" for shape, ms in speed[name].items()
                )
            notes.path, notes.proof = path, proof.line()
            proofs.append(proof)
        if proof.shipped and name in UNPADDED_FILES:
            padded = load_graph(path, encoder.fingerprint, config.threads)
            probes = ProbeTexts(encoder.tokenizer, pairs.queries, titles)
            expected = Expected(padded.embed, "the padded graph")
            unpadded = export_unpadded(job.stages, name, padded, parts / UNPADDED_FILES[name], probes, expected)
            export_codes(job, path, unpadded, reference)
    return proofs


def served_graph(job: ExportJob) -> Path:
    """Return the graph of the precision that is served, as a CPU runs it."""
    name = job.config.precision.served
    return next(file for files in (UNPADDED_FILES, GRAPH_FILES) if (file := job.parts / files[name]).is_file())

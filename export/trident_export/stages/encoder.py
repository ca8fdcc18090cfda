"""The stages that make the encoder: merge, ONNX, parity, and graphs of lower precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.graph_files import CODES_FILE, GRAPH_FILES, ONNX_FILE, UNPADDED_FILES
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError
from trident_export.config import ExportConfig
from trident_export.graphs.graphs import calibration_batches, make_graph
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.judge.parity import probe_batches, prove_parity, torch_embeddings
from trident_export.judge.precisions import PrecisionProof, Reference, judge_precision, measure_speed
from trident_export.merge.merge import load_backbone, merge
from trident_export.progress_rows import Stages
from trident_export.stages.kernels import export_codes, prove_kernels
from trident_export.stages.unpadded import export_unpadded

PARITY_TEXTS = 128  # of each side


@dataclass(frozen=True)
class Encoder:
    """The exported encoder."""

    folder: Path  # of the merged model
    fingerprint: str  # of all three together
    fingerprints: dict[str, str]  # weights, tokenizer and text contract
    graph: OnnxEncoder  # float32, as a CPU runs it
    tokenizer: TextTokenizer


def export_encoder(
    stages: Stages, run: Path, merged: Path, parts: Path, pairs: Pairs, catalogue: Catalogue, config: ExportConfig
) -> Encoder:
    """Merge, convert and prove the encoder of a run.

    Raises:
        TridentError: If a stage does not prove itself.
    """
    with stages.stage("merge") as notes:
        proof = merge(run, merged)
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
        graph = EncoderGraph(load_backbone(merged), contract)
        model = export_onnx(graph.eval(), parts / ONNX_FILE, encoder_fingerprint=fingerprint)
        notes.path = parts / ONNX_FILE
        notes.proof = f"checked, {len(model.graph.node)} nodes, opset {model.opset_import[0].version}"
    with stages.stage("parity") as notes:
        encoder = load_graph(parts / ONNX_FILE, fingerprint, config.threads)
        queries = list(dict.fromkeys(pairs.queries))[:PARITY_TEXTS]
        titles = catalogue.titles[:PARITY_TEXTS]
        parity = prove_parity(encoder, partial(torch_embeddings, graph), tokenizer, queries, titles)
        notes.proof = f"cosine to PyTorch >= {parity.smallest_cosine:.7f} over {parity.texts} texts"
    output = parts / UNPADDED_FILES["fp32"]
    encoder = export_unpadded(stages, "fp32", encoder, output, tokenizer, queries, titles)
    prove_kernels(stages, merged, encoder, tokenizer, queries, titles)
    return Encoder(merged, fingerprint, fingerprints, encoder, tokenizer)


def load_graph(path: Path, fingerprint: str, threads: int) -> OnnxEncoder:
    """Return the encoder of a graph that must be of a fingerprint."""
    return OnnxEncoder.load(path, threads=threads, encoder_fingerprint=fingerprint)


def export_precisions(
    stages: Stages,
    encoder: Encoder,
    pairs: Pairs,
    queries: list[str],
    vectors: NDArray[np.float32],
    catalogue: Catalogue,
    parts: Path,
    config: ExportConfig,
) -> list[PrecisionProof]:
    """Make and judge the graphs of lower precision; what fails is left out, or refuses the export if it is needed.

    Raises:
        ExportError: If a precision that is required or served fails.
    """
    reference = Reference(encoder.graph, encoder.tokenizer, pairs, queries, vectors)
    calibration = calibration_batches(encoder.tokenizer, catalogue.titles)
    proofs = []
    for name in config.precision.made:
        with stages.stage(name) as notes:
            path = parts / GRAPH_FILES[name]
            proof = judge_precision(
                name,
                partial(
                    make_graph,
                    *(name, parts / ONNX_FILE, path, calibration),
                    probes=probe_batches(encoder.tokenizer, pairs.queries[:64], pairs.titles[:64]),
                    threads=config.threads,
                ),
                reference,
                load=partial(load_graph, fingerprint=encoder.fingerprint, threads=config.threads),
                overlap_target=config.precision.overlap_target,
                quality_tolerance=config.precision.quality_tolerance,
            )
            if not proof.shipped:
                path.unlink(missing_ok=True)
                if name in config.needed():
                    why = "required or served" if name in config.precision.needed() else "what the engine is built from"
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
            output = parts / UNPADDED_FILES[name]
            unpadded = export_unpadded(
                *(stages, name, padded, output, encoder.tokenizer),
                *(pairs.queries, catalogue.titles),
            )
            export_codes(stages, path, encoder.folder, parts / CODES_FILE, unpadded, reference, config)
    return proofs


def served_graph(parts: Path, config: ExportConfig) -> Path:
    """Return the graph of the precision that is served, as a CPU runs it."""
    name = config.precision.served
    return next(file for files in (UNPADDED_FILES, GRAPH_FILES) if (file := parts / files[name]).is_file())

"""Exports a run: merge, ONNX, parity, catalogue, index, precisions, engine, golden, quality, repository, gate.

    trident export runs/demo --catalogue products.csv --out generations/

Every stage proves itself or the whole export is refused; the generation appears by one rename at the end.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trident.config import to_table
from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.encoder.base_model import file_sha256
from trident.encoder.served_encoder import load_encoder
from trident.errors import ModelError
from trident.generation.generation import (
    ENCODER_FOLDER,
    GOLDEN_FILE,
    REPOSITORY_FOLDER,
    TEST_PAIRS_FILE,
    Generation,
    Identity,
    Manifest,
    generation_id,
    write_manifest,
)
from trident.generation.golden import save_golden
from trident.generation.serials import generations_lock, next_serial
from trident.generation.staging import scratch_folder
from trident.quality.gate import check_reason
from trident_export.config import ExportConfig
from trident_export.engine.profiles import make_profiles
from trident_export.judge.golden import golden_answers
from trident_export.judge.quality import measure_quality
from trident_export.parts import fill_repository, part_hashes
from trident_export.progress_rows import Stage, Stages
from trident_export.stages.catalogue import EmbeddingProgress, embed_products, embeddings_folder, export_index
from trident_export.stages.encoder import export_encoder, export_precisions, served_graph
from trident_export.stages.engine import export_engine, place_engine
from trident_export.stages.gate import pass_gate

BASE_FILE = "base.json"
RECALL_QUERIES = 1000
GOLDEN_QUERIES = 50
VERSIONS_OF = (
    "trident-search",
    "torch",
    "transformers",
    "peft",
    "onnx",
    "onnxruntime",
    "hnswlib",
    "tokenizers",
    "numpy",
)


def export_generation(
    run: Path,
    catalogue_path: Path,
    output: Path,
    config: ExportConfig,
    *,
    report: Callable[[Stage], None],
    embedding: EmbeddingProgress,
    vectors: Path | None = None,
    force: str | None = None,
) -> Generation:
    """Return the generation made of a run and a catalogue; the one that is there when it exists already.

    Args:
        run: A run folder of ``trident train``.
        catalogue_path: The products.
        output: The folder of generations.
        config: Index, precisions, engine, targets, threads.
        report: Called after each stage.
        embedding: Called with the number of products; its context manager yields a progress function.
        vectors: A folder of ``trident embed`` whose embeddings are taken over; None embeds here.
        force: Why a refusal of the gate is overruled, kept in the manifest; None: it is not.

    Raises:
        GateError: If the gate refuses the generation; ``output`` is as it was then, but for ``refusal.json``.
        TridentError: If an input cannot be used or a stage does not prove itself; ``output`` is as it was then.
    """
    check_reason(force)
    if not run.is_dir():
        raise ModelError(f"run folder {run} does not exist: make one with trident train RECIPE --out {run}")
    for name in (BASE_FILE, TEST_PAIRS_FILE):
        if not (run / name).is_file():
            raise ModelError(f"{run} is no run folder: it has no {name}; make one with trident train")
    catalogue = read_catalogue(catalogue_path, config.columns)
    pairs = read_pairs(run / TEST_PAIRS_FILE)
    stages = Stages(report)
    own = embeddings_folder(output) if vectors is None else nullcontext(output)  # the latter is not looked at
    with scratch_folder(output, "export") as staging, own as embeddings:
        folder, parts = staging / "generation", staging / "parts"
        for made in (folder / ENCODER_FOLDER, parts):
            made.mkdir(parents=True)
        encoder = export_encoder(stages, run, folder / ENCODER_FOLDER, parts, pairs, catalogue, config)
        queries = list(dict.fromkeys(pairs.queries))
        products = embed_products(stages, encoder, catalogue, parts, embeddings, config, embedding, vectors)
        index = export_index(stages, encoder, products, queries[:RECALL_QUERIES], parts, config)
        proofs = export_precisions(stages, encoder, pairs, queries[:RECALL_QUERIES], products, catalogue, parts, config)
        profiles = make_profiles(encoder.tokenizer, queries, catalogue.titles)
        plan = export_engine(stages, parts, profiles, config.engine)
        graph = served_graph(parts, config)
        served = load_encoder(
            graph, encoder.folder, encoder.tokenizer, fingerprint=encoder.fingerprint, threads=config.threads
        )
        with stages.stage("golden") as notes:
            answers = golden_answers(queries[:GOLDEN_QUERIES], served, encoder.tokenizer, index, catalogue)
            save_golden(answers, folder / GOLDEN_FILE)
            notes.path, notes.proof = folder / GOLDEN_FILE, f"{len(answers)} queries answered"
        with stages.stage("quality") as notes:
            pairs.save(folder / TEST_PAIRS_FILE)
            quality = measure_quality(pairs, served, encoder.tokenizer, index, catalogue)
            notes.path, notes.proof = folder / TEST_PAIRS_FILE, _quality_line(quality)
        if plan is not None:
            place_engine(folder, parts, plan, config.engine)
        hashes = part_hashes(folder, parts, encoder, profiles, plan, config)
        identity_of_parts = generation_id(hashes)
        with generations_lock(output):
            target = output / identity_of_parts
            if target.exists():
                with stages.stage("generation") as notes:
                    notes.path, notes.proof = target, f"{identity_of_parts} was there already"
                return Generation.load(target)
            identity = Identity(
                id=identity_of_parts,
                serial=next_serial(output),
                encoder_fingerprint=encoder.fingerprint,
                graph=graph.name,
                query_tokens=profiles[0].opt[1],
            )
            with stages.stage("repository") as notes:
                fill_repository(folder / REPOSITORY_FOLDER, parts, folder / ENCODER_FOLDER, identity, index.dimension)
                notes.path, notes.proof = folder / REPOSITORY_FOLDER, f"serial {identity.serial}"
            manifest = Manifest(
                id=identity.id,
                serial=identity.serial,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                encoder_fingerprint=encoder.fingerprint,
                fingerprints=encoder.fingerprints,
                parts=hashes,
                parents=_parents(run, catalogue_path),
                text=to_table(encoder.tokenizer.contract),
                index={**to_table(config.index), "dimension": index.dimension},
                products=len(catalogue),
                stages=[],  # filled in below
                quality=quality,
                precisions=[to_table(proof) for proof in proofs],
                profiles=[to_table(profile) for profile in profiles],
                versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
            )
            manifest = pass_gate(stages, folder, manifest, output, config, force=force)
            write_manifest(folder, replace(manifest, stages=[asdict(row) for row in stages.rows]))
            folder.rename(target)
    return Generation.load(target)


def _parents(run: Path, catalogue_path: Path) -> dict[str, str]:
    base = json.loads((run / BASE_FILE).read_text(encoding="utf-8"))
    return {
        "run": run.name,
        "base_model": base["base_model"],
        "base_weights": base["weights_fingerprint"],
        "catalogue": f"{catalogue_path.name} sha256:{file_sha256(catalogue_path)}",
    }


def _quality_line(quality: dict[str, Any]) -> str:
    judged = quality["judged"]
    line = f"held-out ROC-AUC {judged['roc_auc']['value']:.4f}, NDCG@10 {judged['ndcg_at_10']:.4f}"
    if "catalogue" in quality:
        line += f"; whole catalogue NDCG@10 {quality['catalogue']['ndcg_at_10']:.4f}"
    return line

"""Exports a run: merge -> ONNX -> parity -> catalogue -> index -> golden answers -> repository -> manifest.

    trident export runs/demo --catalogue products.csv --out generations/

Every stage proves itself or the whole export is refused; the generation appears by one rename at the end.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trident.base_model import file_sha256, weights_fingerprint
from trident.catalogue import CATALOGUE_FILE, Catalogue, read_catalogue
from trident.config import to_table
from trident.encoder import OnnxEncoder
from trident.errors import ConfigError, ExportError, ModelError
from trident.exact_search import exact_search, recall
from trident.generation import (
    ENCODER_FOLDER,
    GOLDEN_FILE,
    REPOSITORY_FOLDER,
    Generation,
    Identity,
    Manifest,
    generation_id,
    generations_lock,
    next_serial,
    walk,
    write_manifest,
)
from trident.index import IndexConfig, VectorIndex
from trident.pairs import Pairs, read_pairs
from trident.staging import scratch_folder
from trident.text import TEXT_CONTRACT_FILE, TextContract
from trident.tokenization import TOKENIZER_FILE, TextTokenizer
from trident_export.golden import GOLDEN_K, golden_answers, save_golden
from trident_export.merge import load_backbone, merge
from trident_export.onnx_graph import EncoderGraph, export_onnx
from trident_export.parity import prove_parity
from trident_export.quality import measure_quality
from trident_export.repository import assemble, template_folder
from trident_export.stages import Stage, Stages

ONNX_FILE = "model.onnx"
BASE_FILE = "base.json"
TEST_PAIRS_FILE = "test.parquet"
PARITY_TEXTS = 128  # of each side
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

EmbeddingProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How to export."""

    index: IndexConfig = field(default_factory=IndexConfig)
    recall_target: float = 0.95  # recall@10 of the index at its default ef, against exact search
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)  # of ONNX Runtime
    columns: dict[str, str] = field(default_factory=dict)  # catalogue: name in the contract -> name in the file

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.recall_target <= 1:
            raise ConfigError(f"recall_target must be in (0, 1], got {self.recall_target}")
        if self.threads < 1:
            raise ConfigError(f"threads must be >= 1, got {self.threads}")


@dataclass(frozen=True)
class Encoder:
    """The exported encoder."""

    fingerprint: str
    graph: OnnxEncoder
    tokenizer: TextTokenizer


def export_generation(
    run: Path,
    catalogue_path: Path,
    output: Path,
    config: ExportConfig,
    *,
    report: Callable[[Stage], None],
    embedding: EmbeddingProgress,
) -> Generation:
    """Return the generation made of a run and a catalogue; the one that is there when it exists already.

    Args:
        run: A run folder of ``trident train``.
        catalogue_path: The products.
        output: The folder of generations.
        config: Index, targets, threads.
        report: Called after each stage.
        embedding: Called with the number of products; its context manager yields a progress function.

    Raises:
        TridentError: If an input cannot be used or a stage does not prove itself; ``output`` is as it was then.
    """
    if not run.is_dir():
        raise ModelError(f"run folder {run} does not exist: make one with trident train RECIPE --out {run}")
    for name in (BASE_FILE, TEST_PAIRS_FILE):
        if not (run / name).is_file():
            raise ModelError(f"{run} is no run folder: it has no {name}; make one with trident train")
    catalogue = read_catalogue(catalogue_path, config.columns)
    pairs = read_pairs(run / TEST_PAIRS_FILE)
    stages = Stages(report)
    with scratch_folder(output, "export") as staging:
        folder, parts = staging / "generation", staging / "parts"
        for made in (folder / ENCODER_FOLDER, parts):
            made.mkdir(parents=True)
        encoder = _export_encoder(stages, run, folder / ENCODER_FOLDER, parts, pairs, catalogue, config)
        queries = list(dict.fromkeys(pairs.queries))
        index = _export_index(stages, encoder, catalogue, queries[:RECALL_QUERIES], parts, config, embedding)
        with stages.stage("golden") as notes:
            answers = golden_answers(queries[:GOLDEN_QUERIES], encoder.graph, encoder.tokenizer, index, catalogue)
            save_golden(answers, folder / GOLDEN_FILE)
            notes.path, notes.proof = folder / GOLDEN_FILE, f"{len(answers)} queries answered"
        with stages.stage("quality") as notes:
            pairs.save(folder / TEST_PAIRS_FILE)
            quality = measure_quality(pairs, encoder.graph, encoder.tokenizer, index, catalogue)
            notes.path, notes.proof = folder / TEST_PAIRS_FILE, _quality_line(quality)
        hashes = _part_hashes(folder, parts, encoder)
        identity_of_parts = generation_id(hashes)
        with generations_lock(output):
            target = output / identity_of_parts
            if target.exists():
                return Generation.load(target)
            identity = Identity(
                id=identity_of_parts, serial=next_serial(output), encoder_fingerprint=encoder.fingerprint
            )
            with stages.stage("repository") as notes:
                _fill_repository(folder / REPOSITORY_FOLDER, parts, folder / ENCODER_FOLDER, identity, index.dimension)
                notes.path, notes.proof = folder / REPOSITORY_FOLDER, f"serial {identity.serial}"
            manifest = Manifest(
                id=identity.id,
                serial=identity.serial,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                encoder_fingerprint=encoder.fingerprint,
                parts=hashes,
                parents=_parents(run, catalogue_path),
                text=to_table(encoder.tokenizer.contract),
                index={**to_table(config.index), "dimension": index.dimension},
                products=len(catalogue),
                stages=[asdict(row) for row in stages.rows],
                quality=quality,
                versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
            )
            write_manifest(folder, manifest)
            folder.rename(target)
    return Generation.load(target)


def _export_encoder(
    stages: Stages, run: Path, merged: Path, parts: Path, pairs: Pairs, catalogue: Catalogue, config: ExportConfig
) -> Encoder:
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
    fingerprint = _encoder_fingerprint(merged, tokenizer)
    with stages.stage("onnx") as notes:
        graph = EncoderGraph(load_backbone(merged), contract)
        model = export_onnx(graph.eval(), parts / ONNX_FILE, encoder_fingerprint=fingerprint)
        notes.path = parts / ONNX_FILE
        notes.proof = f"checked, {len(model.graph.node)} nodes, opset {model.opset_import[0].version}"
    with stages.stage("parity") as notes:
        encoder = OnnxEncoder.load(parts / ONNX_FILE, threads=config.threads, encoder_fingerprint=fingerprint)
        queries = list(dict.fromkeys(pairs.queries))[:PARITY_TEXTS]
        parity = prove_parity(graph, encoder, tokenizer, queries, catalogue.titles[:PARITY_TEXTS])
        notes.proof = f"cosine to PyTorch >= {parity.smallest_cosine:.7f} over {parity.texts} texts"
    return Encoder(fingerprint, encoder, tokenizer)


def _export_index(
    stages: Stages,
    encoder: Encoder,
    catalogue: Catalogue,
    queries: list[str],
    parts: Path,
    config: ExportConfig,
    embedding: EmbeddingProgress,
) -> VectorIndex:
    with stages.stage("catalogue") as notes:
        catalogue.save(parts / CATALOGUE_FILE)
        rows = encoder.tokenizer.token_ids(catalogue.titles, "product")
        with embedding(len(catalogue)) as progress:
            vectors = encoder.graph.embed_ids(rows, pad_id=encoder.tokenizer.pad_id, progress=progress)  # (N, D)
        notes.path, notes.proof = parts / CATALOGUE_FILE, f"{len(catalogue):,} products embedded"
    with stages.stage("index") as notes:
        index = VectorIndex.build(vectors, config=config.index, encoder_fingerprint=encoder.fingerprint)
        folder = parts / "index"
        folder.mkdir()
        index.save(folder)
        index = VectorIndex.load(folder, encoder_fingerprint=encoder.fingerprint)
        query_rows = encoder.tokenizer.token_ids(queries, "query")
        query_vectors = encoder.graph.embed_ids(query_rows, pad_id=encoder.tokenizer.pad_id)  # (Q, D)
        k = min(GOLDEN_K, len(vectors))
        found = recall(index.search(query_vectors, k), exact_search(vectors, query_vectors, k))
        if found < config.recall_target:
            raise ExportError(
                f"recall@{k} of the index must be at least {config.recall_target}, got {found:.3f} at ef "
                f"{config.index.ef}: raise index.ef or index.m"
            )
        notes.path, notes.proof = folder, f"recall@{k} {found:.4f} over {len(queries)} queries"
    return index


def _encoder_fingerprint(merged: Path, tokenizer: TextTokenizer) -> str:
    parts = [weights_fingerprint(merged), tokenizer.fingerprint, tokenizer.contract.fingerprint]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _part_hashes(folder: Path, parts: Path, encoder: Encoder) -> dict[str, str]:
    """Return the hash of every part that an answer depends on; not of the report, which holds times."""
    templates = template_folder()
    adapters = "".join(f"{path.relative_to(templates)}:{file_sha256(path)}\n" for path in walk(templates))
    return {
        "encoder": encoder.fingerprint,
        "onnx": file_sha256(parts / ONNX_FILE),
        "catalogue": file_sha256(parts / CATALOGUE_FILE),
        "golden": file_sha256(folder / GOLDEN_FILE),
        "templates": hashlib.sha256(adapters.encode()).hexdigest(),
        **{f"index/{path.name}": file_sha256(path) for path in walk(parts / "index")},
    }


def _fill_repository(repository: Path, parts: Path, merged: Path, identity: Identity, dimension: int) -> None:
    folders = assemble(repository, identity, dimension=dimension)
    (parts / ONNX_FILE).rename(folders["encoder"] / ONNX_FILE)
    (parts / CATALOGUE_FILE).rename(folders["retriever"] / CATALOGUE_FILE)
    for path in walk(parts / "index"):
        path.rename(folders["retriever"] / path.name)
    for name in (TOKENIZER_FILE, TEXT_CONTRACT_FILE):
        (folders["tokenizer"] / name).write_bytes((merged / name).read_bytes())


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

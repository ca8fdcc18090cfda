"""Exports a run: from the attributes, the merge and the graph to golden answers, the repository and the gate.

    trident export runs/demo --catalogue products.csv --out generations/

Every stage proves itself or the whole export is refused; the generation appears by one rename at the end.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from trident.config import to_table
from trident.data.formats import parts_of
from trident.encoder.base_model import file_sha256
from trident.encoder.served_encoder import load_encoder
from trident.generation.durable import put_in_place
from trident.generation.generation import (
    REPOSITORY_FOLDER,
    Generation,
    Identity,
    Manifest,
    generation_id,
    write_manifest,
)
from trident.generation.serials import generations_lock, next_serial
from trident.generation.staging import scratch_folder
from trident.live.known import KNOWN_FILE, held_log, known_at, save_known
from trident.rights import give_rights
from trident_export.engine.profiles import make_profiles
from trident_export.inputs import ExportInputs, read_inputs
from trident_export.job import EmbeddingProgress, ExportJob, ExportOrder
from trident_export.parts import fill_repository, part_hashes
from trident_export.progress_rows import Stage, Stages
from trident_export.run_folder import BASE_FILE
from trident_export.stages.answers import answer_golden, judge_quality
from trident_export.stages.attributes import export_attributes
from trident_export.stages.calibration import export_calibration
from trident_export.stages.candidates import CANDIDATES, find_candidates
from trident_export.stages.catalogue import embed_products, embeddings_folder, export_index
from trident_export.stages.encoder import export_encoder, export_precisions, served_graph
from trident_export.stages.engine import export_engine, place_engine
from trident_export.stages.forecast import tell_needs
from trident_export.stages.gate import pass_gate
from trident_export.stages.lexical import Exported, choose_ranking, export_lexical
from trident_export.stages.reranker import export_reranker, served_second_stage
from trident_export.stages.suggestions import export_suggestions
from trident_export.stages.trees import export_trees

VERSIONS_OF = (
    "trident-search",
    "torch",
    "transformers",
    "peft",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "numpy",
)


def export_generation(
    order: ExportOrder,
    *,
    inputs: ExportInputs | None = None,
    report: Callable[[Stage], None] = lambda _: None,
    embedding: EmbeddingProgress = lambda _: nullcontext(lambda _: None),
    building: EmbeddingProgress = lambda _: nullcontext(lambda _: None),
) -> Generation:
    """Return the generation made of a run and a catalogue; the one that is there when it exists already.

    Args:
        order: What is asked for.
        inputs: What ``read_inputs`` returns for it; None: it is read here.
        report: Called after each stage.
        embedding: Called with the number of products; its context manager yields a progress function.
        building: As ``embedding``, while the index is built.

    Raises:
        GateError: If the gate refuses the generation; the output is as it was then, but for ``refusal.json``.
        TridentError: If an input cannot be used or a stage does not prove itself; the output is as it was then.
    """
    read, output = inputs or read_inputs(order), order.output
    own = embeddings_folder(output) if order.vectors is None else nullcontext(output)  # the latter is not looked at
    with scratch_folder(output, "export") as staging, own as embeddings, held_log(output, order.holds) as position:
        job = ExportJob(
            order=order,
            catalogue=read.catalogue,
            pairs=read.pairs,
            queries=read.queries,
            folder=staging / "generation",
            parts=staging / "parts",
            stages=Stages(report),
            position=position,
        )
        for made in (job.merged, job.parts):
            made.mkdir(parents=True)
        export_attributes(job)
        export_suggestions(job, read.asked)
        if position is not None:
            save_known(known_at(output, position), job.parts / KNOWN_FILE)
        encoder = export_encoder(job)
        tell_needs(job, encoder, embeddings)
        products = embed_products(job, encoder, embeddings, embedding)
        index = export_index(job, encoder, products, building)
        proofs = export_precisions(job, encoder, products)
        profiles = make_profiles(encoder.tokenizer, job.queries, job.catalogue.titles)
        plan = export_engine(job, profiles)
        graph = served_graph(job)
        served = load_encoder(
            graph, job.merged, encoder.tokenizer, fingerprint=encoder.fingerprint, threads=job.config.threads
        )
        exported = Exported.of(job, encoder.tokenizer, served, index)
        lexical, seen = export_lexical(job, exported)
        searcher, ranking = choose_ranking(job, exported, lexical, seen)
        found = find_candidates(job, searcher, depth=max(CANDIDATES, job.config.reranked))
        second = export_reranker(job, found)
        trees = export_trees(job, found, second)
        answer_golden(job, searcher, second)
        quality = judge_quality(job, searcher)
        quality |= export_calibration(job, found, second, trees) | ({} if second is None else second.quality)
        quality |= {} if trees is None else trees.quality
        settings = {**to_table(index.config), **to_table(index.cuts), "dimension": index.dimension}
        # The gate loads what was written: one copy of the vectors is enough.
        del index, products, served, lexical, exported, searcher, found
        if plan is not None:
            place_engine(job, plan)
        hashes = part_hashes(job, encoder, profiles, plan) | ({} if second is None else second.parts)
        identity_of_parts = generation_id(hashes)
        with generations_lock(output):
            target = output / identity_of_parts
            if target.exists():
                with job.stages.stage("generation") as notes:
                    notes.path, notes.proof = target, f"{identity_of_parts} was there already"
                return Generation.load(target)
            identity = Identity(
                id=identity_of_parts,
                serial=next_serial(output),
                encoder_fingerprint=encoder.fingerprint,
                graph=graph.name,
                query_tokens=profiles[0].opt[1],
                calibration=hashes.get("calibration", ""),
                trees=hashes.get("trees", ""),
                **served_second_stage(second, job.config),
            )
            with job.stages.stage("repository") as notes:
                fill_repository(job, identity, settings["dimension"])
                notes.path, notes.proof = job.folder / REPOSITORY_FOLDER, f"serial {identity.serial}"
            manifest = Manifest(
                id=identity.id,
                serial=identity.serial,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                encoder_fingerprint=encoder.fingerprint,
                fingerprints=encoder.fingerprints,
                parts=hashes,
                parents=_parents(order),
                text=to_table(encoder.tokenizer.contract),
                index=settings,
                products=len(job.catalogue),
                stages=[],  # filled in below
                quality=quality,
                ranking=to_table(ranking),
                precisions=[to_table(proof) for proof in proofs],
                profiles=[to_table(profile) for profile in profiles],
                holds={} if position is None else asdict(position),
                versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
            )
            manifest = pass_gate(job, manifest)
            write_manifest(job.folder, replace(manifest, stages=[asdict(row) for row in job.stages.rows]))
            give_rights(job.folder)
            put_in_place(job.folder, target)
    return Generation.load(target)


def _parents(order: ExportOrder) -> dict[str, str]:
    base = json.loads((order.run / BASE_FILE).read_text(encoding="utf-8"))
    return {
        "run": order.run.name,
        **({} if order.reranker is None else {"reranker": order.reranker.name}),
        "base_model": base["base_model"],
        "base_weights": base["weights_fingerprint"],
        "catalogue": f"{order.catalogue.resolve().name} sha256:{_table_sha256(order.catalogue)}",
    }


def _table_sha256(path: Path) -> str:
    """Return the SHA-256 of a table's file, or of the names and hashes of its parts, hexadecimal."""
    if path.is_file():
        return file_sha256(path)
    parts = "".join(f"{part.relative_to(path)}:{file_sha256(part)}\n" for part in parts_of(path))
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()

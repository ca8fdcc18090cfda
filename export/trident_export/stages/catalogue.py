"""The stages that make the index: the catalogue's embeddings, and the graph over them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import CATALOGUE_FILE
from trident.encoder.base_model import file_sha256
from trident.encoder.kernel_encoder import KernelEncoder
from trident.encoder.served_encoder import load_encoder
from trident.errors import ExportError
from trident.generation.golden import GOLDEN_K
from trident.generation.staging import held_alone
from trident.index.exact_search import Neighbours, exact_search, recall
from trident.index.index import VectorIndex
from trident.index.ways import Cuts
from trident_export.catalogue.embedding import EmbeddingStore, embed_catalogue
from trident_export.catalogue.taken import take_over
from trident_export.job import EmbeddingProgress, ExportJob
from trident_export.judge.index_settings import (
    DEPTHS,
    EXACT_UP_TO,
    Depth,
    cheapest,
    made_queries,
    measure_cuts,
    measure_depths,
    plot,
)
from trident_export.stages.encoder import RECALL_QUERIES, Encoder

PLOT_FILE = "index.svg"  # recall of the graph against its speed, in the generation's folder


@contextmanager
def embeddings_folder(output: Path) -> Iterator[Path]:
    """Yield where an export's embeddings are kept until it is done: they outlive a killed or refused one.

    Args:
        output: The folder of generations; the embeddings lie beside it.

    Raises:
        TridentError: If another export into the folder has them.
    """
    place = output.resolve()  # "." has no name
    folder = place.parent / f".{place.name}.embeddings"
    busy = f"another export into {output} is embedding: wait until it has ended"
    with held_alone(folder.with_name(f"{folder.name}.lock"), busy):
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def embed_products(job: ExportJob, encoder: Encoder, folder: Path, embedding: EmbeddingProgress) -> NDArray[np.float32]:
    """Embed the catalogue in float32, (N, D), going on from what a killed export left in ``folder``.

    The kernels embed where they run the model, else the graph does. Where the order names ``vectors``, the embeddings
    that ``trident embed`` left there are taken over instead.
    """
    catalogue, ready = job.catalogue, job.order.vectors
    with job.stages.stage("catalogue") as notes:
        started = time.perf_counter()
        catalogue.save(job.parts / CATALOGUE_FILE)
        notes.path = job.parts / CATALOGUE_FILE
        if ready is not None:
            vectors = take_over(ready, catalogue, encoder.tokenizer, encoder.graph, fingerprint=encoder.fingerprint)
            notes.proof = f"{len(catalogue):,} embeddings of {ready}, some held against the graph"
            return vectors
        embedder = load_encoder(encoder.graph.path, encoder.folder, encoder.tokenizer, fingerprint=encoder.fingerprint)
        means = f"the kernels ({embedder.instructions})" if isinstance(embedder, KernelEncoder) else "the graph"
        counts: list[int] = []
        with embedding(len(catalogue)) as progress:

            def count(products: int) -> None:
                counts.append(products)
                progress(products)

            vectors = embed_catalogue(
                catalogue.titles,
                encoder.tokenizer,
                embedder,
                EmbeddingStore(folder, key=f"{file_sha256(encoder.graph.path)}:{means}"),
                threads=job.config.threads,
                progress=count,
            )
        before, now = counts[0], sum(counts[1:])  # by an earlier export that did not end, and by this one
        notes.proof = f"{len(catalogue):,} products embedded by {means}" + (
            f", {before:,} of them before" if before else ""
        )
        notes.speed = f"{now / (time.perf_counter() - started):,.0f} titles/s" if now else ""
    return vectors


def export_index(
    job: ExportJob, encoder: Encoder, vectors: NDArray[np.float32], building: EmbeddingProgress
) -> VectorIndex:
    """Build the index, choose how it is searched, save it, load it again and prove its recall.

    Raises:
        ExportError: If recall is below the target, or there is no way to search so many vectors.
    """
    config = job.config
    with job.stages.stage("index") as notes:
        with building(len(vectors)) as progress:
            index = VectorIndex.build(
                vectors,
                config=config.index,
                encoder_fingerprint=encoder.fingerprint,
                threads=config.threads,
                progress=progress,
                links=config.store is None,
            )
        most = EXACT_UP_TO if config.exact_up_to is None else config.exact_up_to
        if not index.has_graph and index.unique_count > most and config.store is None:
            raise ExportError(
                f"a catalogue of more than {most:,} different vectors needs a graph, and the graph the kernels, got "
                f"{index.unique_count:,}: pip install ./kernels"
            )
        k = min(GOLDEN_K, len(vectors))
        held_out = _embed(encoder, job.queries[:RECALL_QUERIES])
        made = _embed(encoder, made_queries(job.catalogue.titles, seed=config.index.seed))
        sets = [(queries, exact_search(vectors, queries, k)) for queries in (held_out, made) if len(queries)]
        index, depths, taken = _settings(job, index, sets, k)
        folder = job.parts / "index"
        index.save(folder)
        index = VectorIndex.load(folder, encoder_fingerprint=encoder.fingerprint)
        notes.path = folder
        asked = sum(len(queries) for queries, _ in sets)
        if taken is not None:
            (job.folder / PLOT_FILE).write_text(plot(depths, taken), encoding="utf-8")
            notes.proof = f"recall@{k} {taken.recall:.4f} at ef {taken.ef} over {asked} queries"
            notes.speed = f"{taken.ms:.2f} ms a query"
        if index.is_exact:
            found, ms = _recall(index, sets, k)
            if found < 1.0:
                raise ExportError(
                    f"comparing codes must find what comparing every vector finds, got recall@{k} {found:.4f} over "
                    f"{asked} queries: export with exact_up_to=0, and report it"
                )
            notes.proof = f"exact; by the graph {notes.proof}" if taken is not None else "exact, without a graph"
            notes.speed = f"{ms:.2f} ms a query" + (f", by the graph {taken.ms:.2f}" if taken is not None else "")
    return index


def _settings(
    job: ExportJob, index: VectorIndex, sets: list[tuple[NDArray[np.float32], Neighbours]], k: int
) -> tuple[VectorIndex, list[Depth], Depth | None]:
    """Return the index with its depth and cuts, what was measured, and the depth that was taken.

    Raises:
        ExportError: If the depth that was asked for, or any, finds less than the target.
    """
    config = job.config
    if not index.has_graph:
        index.cuts = Cuts(exact_up_to=index.unique_count)
        return index, [], None
    target, named = config.recall_target, config.index.ef
    efs = DEPTHS if named is None else (named,)
    depths = measure_depths(index, sets, k, target=target, efs=efs)
    taken = cheapest(depths, target)
    if taken is None:
        best = depths[-1]
        raise ExportError(
            f"recall@{k} of the index must be at least {target}, got {best.recall:.3f} at ef {best.ef}: raise "
            f"{'index.ef or ' if named is not None else ''}index.m or index.ef_construction, or lower recall_target"
        )
    index.config = replace(index.config, ef=taken.ef)
    if index.unique_count > EXACT_UP_TO:
        index.cuts = measure_cuts(index, sets[0][0], k)
    if config.exact_up_to is not None:
        index.cuts = replace(index.cuts, exact_up_to=config.exact_up_to)
    return index, depths, taken


def _embed(encoder: Encoder, queries: Sequence[str]) -> NDArray[np.float32]:
    return encoder.graph.embed_ids(encoder.tokenizer.token_ids(queries, "query"), pad_id=encoder.tokenizer.pad_id)


def _recall(index: VectorIndex, sets: list[tuple[NDArray[np.float32], Neighbours]], k: int) -> tuple[float, float]:
    """Return the lowest recall of a search one query after the other, and the milliseconds that each took."""
    started, recalls = time.process_time(), []
    for queries, exact in sets:
        found = [index.search(query[None], k) for query in queries]
        together = (np.concatenate([getattr(each, name) for each in found]) for name in ("rows", "scores", "count"))
        recalls.append(recall(Neighbours(*together), exact))
    return min(recalls), 1000 * (time.process_time() - started) / sum(len(queries) for queries, _ in sets)

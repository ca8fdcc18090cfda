"""The stages that make the index: the catalogue's embeddings, and the graph over them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from trident_export.catalogue.embed_run import take_over
from trident_export.catalogue.embedding import EmbeddingStore, embed_catalogue
from trident_export.graphs.flat_graph import write_flat
from trident_export.job import EmbeddingProgress, ExportJob
from trident_export.stages.encoder import RECALL_QUERIES, Encoder


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


def export_index(job: ExportJob, encoder: Encoder, vectors: NDArray[np.float32]) -> VectorIndex:
    """Build the index, save it, load it again and prove its recall.

    Raises:
        ExportError: If recall is below the target.
    """
    config, queries = job.config, job.queries[:RECALL_QUERIES]
    with job.stages.stage("index") as notes:
        index = VectorIndex.build(vectors, config=config.index, encoder_fingerprint=encoder.fingerprint)
        folder = job.parts / "index"
        folder.mkdir()
        index.save(folder)
        if index.unique_count <= config.exact_up_to:
            write_flat(folder, index.different_vectors)
        index = VectorIndex.load(folder, encoder_fingerprint=encoder.fingerprint)
        query_rows = encoder.tokenizer.token_ids(queries, "query")
        query_vectors = encoder.graph.embed_ids(query_rows, pad_id=encoder.tokenizer.pad_id)  # (Q, D)
        k = min(GOLDEN_K, len(vectors))
        exact = exact_search(vectors, query_vectors, k)
        by_graph, graph_ms = _recall(index, query_vectors, exact, k, ef=config.index.ef)
        if by_graph < config.recall_target:
            raise ExportError(
                f"recall@{k} of the index must be at least {config.recall_target}, got {by_graph:.3f} at ef "
                f"{config.index.ef}: raise index.ef or index.m"
            )
        notes.path, notes.proof = folder, f"recall@{k} {by_graph:.4f} over {len(queries)} queries"
        notes.speed = f"{graph_ms:.2f} ms a query"
        if index.flat is not None:
            found, ms = _recall(index, query_vectors, exact, k, ef=None)
            if found < 1.0:
                raise ExportError(
                    f"the flat search must find what comparing every vector finds, got recall@{k} {found:.4f} over "
                    f"{len(queries)} queries: export with exact_up_to=0, and report it"
                )
            notes.proof = f"exact; by the graph {notes.proof}"
            notes.speed = f"{ms:.2f} ms a query, by the graph {graph_ms:.2f}"
    return index


def _recall(
    index: VectorIndex, queries: NDArray[np.float32], exact: Neighbours, k: int, *, ef: int | None
) -> tuple[float, float]:
    """Return the recall of a search one query after the other, and the milliseconds that each took."""
    started = time.perf_counter()
    found = [index.search(query[None], k, ef=ef) for query in queries]
    ms = 1000 * (time.perf_counter() - started) / len(queries)
    together = (np.concatenate([getattr(each, name) for each in found]) for name in ("rows", "scores", "count"))
    return recall(Neighbours(*together), exact), ms

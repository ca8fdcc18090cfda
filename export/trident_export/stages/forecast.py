"""The stage that says what the long ones will take, before them, and refuses what cannot fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.encoder.served_encoder import load_encoder
from trident.generation.generation import walk
from trident.index.index import VectorIndex
from trident_export.catalogue.embedding import EmbeddingStore, embed_catalogue
from trident_export.catalogue.forecast import Known, Sample, measure, needs_of, require_room
from trident_export.job import ExportJob
from trident_export.stages.encoder import Encoder

SAMPLED_FROM = 50_000  # products: fewer take minutes, and are refused by their numbers alone
SAMPLES = (2_000, 8_000)


def tell_needs(
    job: ExportJob,
    encoder: Encoder,
    embeddings: Path,
    *,
    sampled_from: int = SAMPLED_FROM,
    sizes: tuple[int, int] = SAMPLES,
) -> None:
    """Say what embedding and index will take; a small catalogue is refused or let through without a word.

    Args:
        job: The export.
        encoder: What embeds.
        embeddings: The folder that vectors are written to.
        sampled_from: Products from which a sample is measured.
        sizes: Of the samples.

    Raises:
        ExportError: If memory or disk is too little.
    """
    catalogue = job.catalogue
    known = Known(
        products=len(catalogue),
        dimension=encoder.graph.dimension,
        catalogue_bytes=sum(texts.array.nbytes for texts in catalogue.texts) + catalogue.attributes.nbytes,
        parts_bytes=sum(path.stat().st_size for folder in (job.folder, job.parts) for path in walk(folder)),
        embeds=job.order.vectors is None,
    )
    generations = job.order.output
    require_room(needs_of(known, embeddings=embeddings, generations=generations))
    if len(catalogue) < sampled_from:
        return
    with job.stages.stage("forecast") as notes:
        needs = needs_of(known, embeddings=embeddings, generations=generations, sample=_sample(job, encoder, sizes))
        notes.proof = needs.text()
        require_room(needs)


def _sample(job: ExportJob, encoder: Encoder, sizes: tuple[int, int]) -> Sample:
    titles = job.catalogue.texts[1]
    folder = job.parts / "sample"
    embedder = load_encoder(encoder.graph.path, encoder.folder, encoder.tokenizer, fingerprint=encoder.fingerprint)

    def embed(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        store = EmbeddingStore(folder, key="sample")
        threads = job.config.threads
        return embed_catalogue(
            titles.take(rows.tolist()), encoder.tokenizer, embedder, store, threads=threads, progress=lambda _: None
        )

    def build(vectors: NDArray[np.float32], place: Path) -> int:
        index = VectorIndex.build(
            vectors, config=job.config.index, encoder_fingerprint=encoder.fingerprint, threads=job.config.threads
        )
        index.save(place)
        return sum(path.stat().st_size for path in walk(place))

    folder.mkdir()
    try:
        return measure(embed, build, products=len(titles), sizes=sizes, folder=folder)
    finally:
        shutil.rmtree(folder)

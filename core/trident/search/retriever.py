"""Embeddings to products: the index and the catalogue of one generation, as the served retriever uses them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.errors import GenerationError, VectorIndexError
from trident.generation.generation import IDENTITY_FILE, Identity
from trident.index.exact_search import check_unit_rows
from trident.index.files import index_encoder
from trident.index.index import Neighbours, VectorIndex
from trident.search.requests import SearchKnobs
from trident.search.tensors import COUNT, DETAILS, EMPTY_SCORE, PRODUCT_ID, SCORE, TITLE

NOTHING_TO_SAY = b"{}"  # of an answer, in its details


@dataclass(frozen=True)
class Hits:
    """Products of B queries, best first, as the server answers them.

    ``product_ids`` and ``titles`` are (B, k) object arrays of bytes, ``scores`` is (B, k) float32 cosine, ``counts``
    (B, 1) int32, ``details`` (B, 1) object array of bytes, one JSON object each; where a row has fewer than k products,
    the rest is ``b""`` and ``EMPTY_SCORE``.
    """

    product_ids: NDArray[np.object_]
    scores: NDArray[np.float32]
    titles: NDArray[np.object_]
    counts: NDArray[np.int32]
    details: NDArray[np.object_]

    def rows(self, start: int, stop: int, width: int) -> Hits:
        """Return some of the rows, cut to a width."""
        return Hits(
            np.ascontiguousarray(self.product_ids[start:stop, :width]),
            np.ascontiguousarray(self.scores[start:stop, :width]),
            np.ascontiguousarray(self.titles[start:stop, :width]),
            self.counts[start:stop],
            self.details[start:stop],
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the output tensors of ``search``, without the generation, by name."""
        found = {PRODUCT_ID: self.product_ids, SCORE: self.scores, TITLE: self.titles, COUNT: self.counts}
        return {**found, DETAILS: self.details}


class Retriever:
    """The index over a catalogue; rows of one are rows of the other.

    Args:
        index: Over N products.
        catalogue: The same N products.
        identity: The generation that both belong to.
    """

    def __init__(self, index: VectorIndex, catalogue: Catalogue, identity: Identity) -> None:
        """Keep the parts; see the class for the arguments."""
        if index.count != len(catalogue):
            raise GenerationError(
                f"index and catalogue of generation {identity.id} must have the same number of products, got "
                f"{index.count:,} and {len(catalogue):,}: export again"
            )
        self.index = index
        self.identity = identity
        # One more row at the end, so that -1, no product, takes the empty text.
        self.product_ids = np.array([text.encode() for text in [*catalogue.product_ids, ""]], dtype=np.object_)
        self.titles = np.array([text.encode() for text in [*catalogue.titles, ""]], dtype=np.object_)

    @classmethod
    def load(cls, folder: Path, *, flat_threads: int = 1) -> Retriever:
        """Return the retriever of a version folder.

        Args:
            folder: Holds identity, index and catalogue.
            flat_threads: Of the flat search, where the index has one.

        Raises:
            VectorIndexError: If the index is damaged, or was made by another encoder than the generation's.
            GenerationError: If identity or catalogue is missing, or their sizes differ.
        """
        identity = Identity.load(folder)
        _check_encoder(folder, identity)
        index = VectorIndex.load(folder, encoder_fingerprint=identity.encoder_fingerprint, flat_threads=flat_threads)
        return cls(index, Catalogue.load(folder / CATALOGUE_FILE), identity)

    def for_lone(self, threads: int) -> Retriever:
        """Return the same retriever, whose flat search, where it has one, runs on other threads."""
        lone = copy.copy(self)  # of the same catalogue
        lone.index = self.index.for_lone(threads)
        return lone

    def close(self) -> None:
        """Let go of what is followed; this one follows nothing."""

    def check(self, embeddings: NDArray[np.float32]) -> None:
        """Raise what ``retrieve`` would raise for embeddings, so that a bad request is found before it joins others.

        Raises:
            VectorIndexError: If the embeddings have another width or are not of unit length.
        """
        check_unit_rows(embeddings, name="embeddings", dimension=self.index.dimension)

    def retrieve(
        self,
        embeddings: NDArray[np.float32],
        knobs: Sequence[SearchKnobs],
        *,
        threads: int = 1,
        of_base: Sequence[bool] | None = None,  # noqa: ARG002 - this one has nothing else
    ) -> Hits:
        """Return the products nearest to B embeddings, each by its own knobs; as wide as the largest k.

        Args:
            embeddings: (B, D) float32, unit length.
            knobs: One a row.
            threads: Of the search in the graph.
            of_base: Whether a row is asked of the generation alone, without what came since.

        Raises:
            VectorIndexError: If the embeddings have another width or are not of unit length.
        """
        found = self.index.search_each(
            embeddings, [knob.k for knob in knobs], [knob.ef for knob in knobs], threads=threads
        )
        return self.hits(found, knobs, (self.product_ids[found.rows], self.titles[found.rows]))

    def hits(
        self,
        found: Neighbours,
        knobs: Sequence[SearchKnobs],
        texts: tuple[NDArray[np.object_], NDArray[np.object_]],
        details: bytes = NOTHING_TO_SAY,
    ) -> Hits:
        """Return rows that were found as products.

        Args:
            found: Of B queries.
            knobs: One a query; what they leave out is left out.
            texts: Ids and titles (B, k) of the rows.
            details: Of each query.
        """
        rows, scores = found.rows, found.scores
        ids, titles = texts
        if any(knob.min_score is not None for knob in knobs):
            lowest = np.array(
                [EMPTY_SCORE if knob.min_score is None else knob.min_score for knob in knobs], dtype=np.float32
            )
            rows = np.where(scores >= lowest[:, None], rows, -1)  # NaN compares as false
            ids, titles = np.where(rows >= 0, ids, b""), np.where(rows >= 0, titles, b"")
        is_there = rows >= 0  # (B, k)
        counts = is_there.sum(axis=1, keepdims=True).astype(np.int32)
        scores = np.where(is_there, scores, np.float32(EMPTY_SCORE))
        all_details = np.full(counts.shape, details, dtype=np.object_)
        return Hits(ids, scores, titles, counts, all_details)


def _check_encoder(folder: Path, identity: Identity) -> None:
    """Raise if the index of a version folder is of another encoder, and say of which generation each side is."""
    found = index_encoder(folder)
    if found != identity.encoder_fingerprint:
        raise VectorIndexError(
            f"generation {identity.id} (serial {identity.serial}, encoder {identity.encoder_fingerprint[:12]}) must "
            f"have an index of its own encoder, got one of encoder {found[:12]}, that of "
            f"{_loaded_with(folder, found)} ({folder}): export again"
        )


def _loaded_with(folder: Path, encoder_fingerprint: str) -> str:
    """Name the generations of the other version folders that have an encoder."""
    names = []
    for path in sorted(folder.parent.glob(f"*/{IDENTITY_FILE}")):
        try:
            other = Identity.load(path.parent)
        except GenerationError:  # damaged: it is not what is refused here
            continue
        if path.parent != folder and other.encoder_fingerprint == encoder_fingerprint:
            names.append(f"generation {other.id} (serial {other.serial})")
    return " and ".join(names) or "no generation loaded here"

"""The HNSW search that every peer gets: the generation's own index and catalogue, by the code that Trident serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.generation.generation import Generation
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Hits, Retriever

K = 10


class Index:
    """Finds the products of embeddings."""

    def __init__(self, generation_folder: Path) -> None:
        """Load the index of a generation."""
        generation = Generation.load(generation_folder)
        self._retriever = Retriever.load(generation.version_folder("retriever"))

    def find(self, embeddings: NDArray[np.float32]) -> Hits:
        """Return the ten nearest products of each embedding (B, D), unit length."""
        return self._retriever.retrieve(embeddings.astype(np.float32), [SearchKnobs(k=K)] * len(embeddings))

    def hits(self, embedding: NDArray[np.float32]) -> list[dict[str, object]]:
        """Return the products of one embedding (D,), as JSON."""
        found = self.find(embedding[None])
        return [
            {"product_id": product_id.decode(), "score": float(score), "title": title.decode()}
            for product_id, score, title in zip(found.product_ids[0], found.scores[0], found.titles[0], strict=True)
            if product_id
        ]

"""Filtered search of other libraries, for ``bench/filters.py``: hnswlib's Python filter, faiss' selector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.index.exact_search import Neighbours, exact_search, recall
from trident_export.judge.index_settings import DEPTHS

K = 10
PEER_QUERIES = 10  # of a filter: hnswlib takes a second for one where few pass
LINKS, CONSTRUCTED = 32, 300  # M and ef_construction of both


@dataclass
class Peer:
    """Another library's graph with a filter.

    Attributes:
        wrap: Makes a search of a mask of what passes; None: all do.
        ef: That finds 0.99 of the neighbours without a filter.
    """

    wrap: Callable[[Any], Callable[[NDArray[np.float32], int, int], NDArray[np.int64]]]
    ef: int = 0

    def settle(self, queries: NDArray[np.float32], exact: Neighbours, vectors: NDArray[np.float32]) -> None:
        """Choose the depth as an export does."""
        search = self.wrap(None)
        for self.ef in DEPTHS:
            rows = search(queries, self.ef, 1)
            if recall(as_neighbours(rows, queries, vectors), exact) >= 0.99:
                return


def as_neighbours(rows: NDArray[np.int64], queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> Neighbours:
    """Return rows (B, k), -1 where there is none, with their cosines."""
    scores = np.einsum("bd,bkd->bk", queries, vectors[rows]).astype(np.float32)
    return Neighbours(rows, np.where(rows >= 0, scores, np.nan).astype(np.float32), (rows >= 0).sum(1).astype(np.int32))


def peers_of(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> dict[str, Peer]:
    """Return the graphs of hnswlib and faiss over vectors (N, D), as deep as finds 0.99 of what queries want."""
    import faiss  # bench/index_requirements.txt
    import hnswlib
    from graph_peers import by_faiss, by_hnswlib

    graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
    graph.init_index(len(vectors), M=LINKS, ef_construction=CONSTRUCTED, random_seed=42)
    graph.add_items(vectors, np.arange(len(vectors)), num_threads=2)
    faiss.omp_set_num_threads(2)
    theirs = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    theirs.hnsw.efConstruction = CONSTRUCTED
    theirs.add(vectors)
    found = {"hnswlib": Peer(partial(by_hnswlib, graph)), "faiss": Peer(partial(by_faiss, theirs))}
    exact = exact_search(vectors, queries, K)
    for peer in found.values():
        peer.settle(queries, exact, vectors)
    return found

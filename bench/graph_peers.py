"""Searches of hnswlib's and faiss' graphs, with filters and without: for ``index.py`` and ``filters.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

K = 10
REFINED = 4  # times k that 8-bit answers of faiss are compared again in full

Search = Callable[[NDArray[np.float32], int, int], NDArray[np.int64]]  # queries, ef, threads -> rows (Q, K)


def by_hnswlib(graph: Any, permitted: NDArray[np.bool_] | None) -> Search:
    """Return a search of hnswlib's graph; with a filter it calls Python for each candidate, on one thread."""

    def search(queries: NDArray[np.float32], ef: int, threads: int) -> NDArray[np.int64]:
        graph.set_ef(max(ef, K))
        if permitted is None:
            return np.asarray(graph.knn_query(queries, k=K, num_threads=threads)[0], dtype=np.int64)
        found, _ = graph.knn_query(queries, k=K, num_threads=1, filter=lambda row: bool(permitted[row]))
        return np.asarray(found, dtype=np.int64)

    return search


def by_faiss(index: Any, permitted: NDArray[np.bool_] | None) -> Search:
    """Return a search of faiss's graph, refined where it is an IndexRefine."""
    is_refined = isinstance(index, faiss.IndexRefine)
    bits = None if permitted is None else np.packbits(permitted, bitorder="little")

    def search(queries: NDArray[np.float32], ef: int, threads: int) -> NDArray[np.int64]:
        faiss.omp_set_num_threads(threads)
        own = faiss.SearchParametersHNSW(efSearch=ef)
        if bits is not None:
            own.sel = faiss.IDSelectorBitmap(bits)
        params = faiss.IndexRefineSearchParameters(k_factor=REFINED, base_index_params=own) if is_refined else own
        return np.asarray(index.search(queries, K, params=params)[1], dtype=np.int64)

    return search

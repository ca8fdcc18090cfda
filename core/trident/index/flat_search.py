"""Exact search of a small catalogue in 8-bit integers: every vector is compared, and what is found is certain.

Vectors and query are rounded to integers, whose products ONNX Runtime sums exactly: a cosine comes out wrong by no more
than a bound that follows from what rounding took away (Cauchy and Schwarz). So the k best are among those whose rounded
cosine comes within the bound of the k-th best cosine; these few are compared again in full. A rounded cosine does
not depend on the batch, as a sum of floats would.

It beats a graph while the vectors, a byte a number, pass through the processor sooner than a search hops from one to
the next (``docs/log/index.md``). Source: "Flat" and "SQ8 with refinement" of Faiss, with a bound instead of a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.errors import ModelError, VectorIndexError
from trident.index.exact_search import NORM_TOLERANCE, TIE_TOLERANCE, cosines_of_pairs
from trident.index.files import FLAT_GRAPH_FILE, FLAT_RECORD_FILE, REMEDY, check_file, read_record

FLAT_FORMAT = 1
QUERY, TOP, ROUNDED, LABELS = "query", "top", "rounded", "labels"  # uint8 (B, D), int64 (1,) -> int32, int64 (B, top)
CODE_LEVELS = 127  # a vector's integers are -127 to 127
QUERY_LEVELS = 63  # a query's: with 7 bits, two products fit into the 16 that AVX2 adds them in
QUERY_ZERO = 64  # is added to a query's, which are unsigned
FIRST = 32  # of the best rounded cosines are compared in full at once, at least
BLOCK_PRODUCTS = 2**22  # rounded cosines held at a time: 16 MiB


@dataclass(frozen=True, kw_only=True)
class FlatRecord:
    """The content of ``flat.json``: what the graph was made of, and how far its cosines may be off."""

    format: int  # FLAT_FORMAT
    graph_bytes: int
    graph_sha256: str
    index_sha256: str  # of the index.hnsw that holds the same vectors
    dimension: int
    count: int  # different vectors
    scale: float  # of a vector's integers
    largest_norm: float  # of a vector: 1, but for rounding
    largest_residual: float  # norm of what rounding took away from a vector


class FlatSearch:
    """The integers of an index's vectors in an ONNX Runtime session; ``load`` one. Safe from several threads.

    Args:
        record: What was loaded.
        path: The graph's file, for errors.
        vectors: (U, D) float32, the different vectors by label.
        threads: Of the comparison.

    Raises:
        VectorIndexError: If ONNX Runtime does not load the graph.
    """

    def __init__(self, record: FlatRecord, path: Path, vectors: NDArray[np.float32], *, threads: int = 1) -> None:
        """Open the session."""
        from trident.encoder.onnx_session import open_session  # here: who searches graphs only needs no ONNX Runtime

        try:
            self._session = open_session(path, what="flat search", threads=threads, spins=True)
        except ModelError as error:
            raise VectorIndexError(f"{error}; {REMEDY}") from error
        self.vectors = vectors
        self.record = record
        self._path = path
        self._threads = threads

    @classmethod
    def load(cls, folder: Path, vectors: NDArray[np.float32], *, index_sha256: str, threads: int = 1) -> FlatSearch:
        """Return the flat search of an index's folder.

        Args:
            folder: Of the index.
            vectors: (U, D) float32, the index's different vectors by label.
            index_sha256: Of the index that it must belong to.
            threads: Of the comparison.

        Raises:
            VectorIndexError: If a file is damaged, missing, or of another index.
        """
        record = read_record(folder / FLAT_RECORD_FILE, FlatRecord, FLAT_FORMAT)
        path = folder / FLAT_GRAPH_FILE
        if record.index_sha256 != index_sha256:
            raise VectorIndexError(
                f"{folder / FLAT_RECORD_FILE} must be of index {index_sha256[:12]}, got one of index "
                f"{record.index_sha256[:12]}; {REMEDY}"
            )
        check_file(path, record.graph_bytes, record.graph_sha256)
        return cls(record, path, vectors, threads=threads)

    def for_lone(self, threads: int) -> FlatSearch:
        """Return the same search on other threads.

        Raises:
            VectorIndexError: If ONNX Runtime does not load the graph again.
        """
        if threads == self._threads:
            return self
        return FlatSearch(self.record, self._path, self.vectors, threads=threads)

    def nearest(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ``depth`` nearest labels and their cosines, best first, ties by label: (B, depth) each.

        Args:
            queries: (B, D) float32, rows of unit length.
            depth: 1 to the number of vectors.
        """
        top = min(self.record.count, max(4 * depth, depth + 118))  # 128 for 10: enough for all but far-off queries
        step = max(1, BLOCK_PRODUCTS // self.record.count)
        blocks = [self._search(queries[start : start + step], depth, top) for start in range(0, len(queries), step)]
        if len(blocks) == 1:
            return blocks[0]
        empty = np.empty((0, depth), dtype=np.int64), np.empty((0, depth), dtype=np.float32)
        labels, cosines = (np.concatenate(parts) for parts in zip(empty, *blocks, strict=True))
        return labels, cosines

    def _search(
        self, queries: NDArray[np.float32], depth: int, top: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return what ``nearest`` does; where ``top`` rounded cosines are too few to be certain, more are looked at."""
        labels, cosines, certain = self._nearest(queries, depth, top)
        if not certain.all():
            left = ~certain
            labels[left], cosines[left] = self._search(queries[left], depth, min(self.record.count, 4 * top))
        return labels, cosines

    def _nearest(
        self, queries: NDArray[np.float32], depth: int, top: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return what ``nearest`` does, of the ``top`` best rounded cosines, and for which queries that is certain.

        A lone query meets this code with cold caches, where each call of NumPy counts: there are as few as can be.
        """
        scales = np.abs(queries).max(axis=1, keepdims=True) / QUERY_LEVELS  # (B, 1)
        integers = np.rint(queries / scales)  # (B, D), -63 to 63
        feeds = {QUERY: (integers + QUERY_ZERO).astype(np.uint8), TOP: np.array([top], dtype=np.int64)}
        sums, labels = self._session.run([ROUNDED, LABELS], feeds)  # (B, top) each, best first
        lost = queries - scales * integers  # (B, D)
        residuals = np.sqrt(np.einsum("bd,bd->b", lost, lost)).astype(np.float64)  # (B,)
        bounds = (
            residuals * self.record.largest_norm
            + (1 + NORM_TOLERANCE + residuals) * self.record.largest_residual
            + TIE_TOLERANCE
        )  # (B,)
        first = min(top, max(depth + depth // 4, FIRST))
        cosines = self._compare(queries, labels[:, :first])  # (B, first)
        reached = np.partition(cosines, first - depth, axis=1)[:, first - depth]  # (B,), the k-th best is no worse
        needed = sums[:, first:] >= ((reached - bounds) / (scales[:, 0] * self.record.scale))[:, None]  # from the left
        certain = ~needed[:, -1] if top < self.record.count else np.ones(len(queries), dtype=bool)
        width = int(needed.sum(axis=1).max()) if needed.any() else 0
        if width:
            more = np.full((len(queries), width), -np.inf, dtype=np.float32)
            line, column = np.nonzero(needed)  # (R,)
            more[line, column] = cosines_of_pairs(self.vectors, labels[line, first + column], queries, line)
            cosines = np.concatenate([cosines, more], axis=1)
        labels = labels[:, : first + width]
        order = np.lexsort((labels, -cosines))[:, :depth]
        line = np.arange(len(queries))[:, None]
        return labels[line, order], cosines[line, order], certain

    def _compare(self, queries: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of queries (B, D) and labels (B, M), in full."""
        line = np.repeat(np.arange(len(queries)), labels.shape[1])
        return cosines_of_pairs(self.vectors, labels.ravel(), queries, line).reshape(labels.shape)

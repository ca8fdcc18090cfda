"""The ways to the nearest of the different vectors: by the kernels, or by NumPy where there are none."""

from __future__ import annotations

import logging
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.index.codes import Codes
from trident.index.exact_search import exact_search
from trident.index.graph import Graph
from trident.index.kernels import kernels
from trident.index.permitted import PermittedLabels

DEVIATIONS = 4.0  # of what rounding does to a cosine, which candidates of a walk are given
# A filtered walk that has compared so many vectors for each of ef, if all were permitted, or this share of what is
# permitted, gives up: then all permitted are compared. So does one near whose query few are, beside their share of all.
COMPARED_EACH, COMPARED_SHARE, LEAST_COMPARED = 60, 1 / 4, 2**11
NEAR_SHARE = 0.5

Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # labels and cosines (B, depth), padded with -1 and NaN

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class NearestLabels:
    """The different vectors (U, D), by label, and what finds the nearest of them; ``open_vectors`` makes one."""

    vectors: NDArray[np.float32]
    kernel: Any | None  # trident_index_kernels.Index
    has_graph: bool

    def rows(self, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of labels: those of a large file are read, since pages of it count as memory."""
        if self.kernel is None:
            return np.asarray(self.vectors[labels], dtype=np.float32)
        rows: NDArray[np.float32] = self.kernel.vectors(labels.astype(np.uint32))
        return rows

    def by_comparing(
        self, queries: NDArray[np.float32], depth: int, permitted: PermittedLabels | None, *, gather: bool, threads: int
    ) -> Found:
        """Return the ``depth`` nearest permitted labels and their cosines, best first, ties by label.

        Args:
            queries: (B, D) float32, unit length.
            depth: >= 1; where fewer are permitted the rest is padded.
            permitted: None: all.
            gather: Whether the permitted are looked up one by one, or all vectors are passed over: same answer.
            threads: Of the comparison.
        """
        if self.kernel is None:
            return self._by_numpy(queries, depth, permitted)
        which: dict[str, NDArray[Any]] = {}
        if permitted is not None:
            which = {"labels": permitted.labels} if gather else {"bitmap": permitted.bitmap}
        labels, cosines = self.kernel.scan(queries, depth=depth, threads=threads, **which)
        return labels, cosines

    def by_graph(
        self,
        queries: NDArray[np.float32],
        depth: int,
        ef: int,
        permitted: PermittedLabels | None,
        *,
        gather: bool,
        threads: int,
    ) -> Found:
        """Return about the same by a walk of ``ef`` permitted candidates, the best of which are compared in full.

        A query whose walk found fewer than there are, or had to compare too many, is answered by comparing.

        Args:
            queries: (B, D) float32, unit length.
            depth: >= 1.
            ef: >= 1, raised to the labels that are answered.
            permitted: None: all.
            gather: How they are compared then; as for ``by_comparing``.
            threads: Queries are dealt out to.
        """
        if self.kernel is None:
            return self._by_numpy(queries, depth, permitted)
        count = len(self.vectors)
        there = count if permitted is None else permitted.size
        labels, cosines, found = self.kernel.search(
            queries,
            depth=depth,
            ef=max(ef, depth),
            most=count if permitted is None else _most(max(ef, depth), there, count),
            least_share=NEAR_SHARE * there / count,
            # What was lost lies anyhow to the query: a bound, the whole of it, would let in ten times as many.
            doubt=min(1.0, DEVIATIONS / self.vectors.shape[1] ** 0.5),
            bitmap=None if permitted is None else permitted.bitmap,
            threads=threads,
        )
        missed = np.flatnonzero(found < min(depth, there))
        if len(missed):
            if permitted is None:
                logger.warning("the graph reaches fewer than %d vectors: exact search instead", depth)
            labels[missed], cosines[missed] = self.by_comparing(
                queries[missed], depth, permitted, gather=gather, threads=threads
            )
        return labels, cosines

    def _by_numpy(self, queries: NDArray[np.float32], depth: int, permitted: PermittedLabels | None) -> Found:
        if permitted is None:
            found = exact_search(self.vectors, queries, depth)
            return found.rows, found.scores
        found = exact_search(self.vectors[permitted.labels], queries, depth)
        is_there = found.rows >= 0
        labels = np.full_like(found.rows, -1)
        labels[is_there] = permitted.labels[found.rows[is_there]]
        return labels, found.scores


def _most(ef: int, there: int, count: int) -> int:
    """Return how many vectors a walk compares at most that seeks ``ef`` of ``there`` permitted ones of ``count``."""
    return max(LEAST_COMPARED, int(min(COMPARED_EACH * ef * count / max(there, 1), COMPARED_SHARE * there)))


def open_vectors(vectors: NDArray[np.float32], codes: Codes, graph: Graph | None) -> NearestLabels:
    """Return what searches the vectors; rows of those that are mapped are read out of their file one by one.

    Args:
        vectors: (U, D) float32, unit length, in memory or mapped.
        codes: Of them.
        graph: Over them; None: all are compared.
    """
    module = kernels()
    if module is None:
        return NearestLabels(vectors, None, has_graph=False)
    source: Any = vectors
    is_mapped = isinstance(source, np.memmap) and isinstance(source.base, mmap.mmap)  # no part of another one
    kernel = module.Index(
        codes.rows,
        codes.scales,
        codes.lost,
        str(source.filename) if is_mapped else vectors,
        offset=source.offset if is_mapped else 0,
        dimension=vectors.shape[1],
    )
    if graph is not None:
        kernel.set_graph(graph.lowest, graph.upper, entry=graph.entry, upper_entry=graph.upper_entry)
    return NearestLabels(vectors, kernel, has_graph=graph is not None)

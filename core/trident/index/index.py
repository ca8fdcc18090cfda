"""The index over product embeddings: build, save, load, search.

Three ways lead to the nearest vectors, behind one door (``trident.index.ways``): comparing those that a filter leaves,
comparing all, and a walk through a graph. All of them look at vectors in 8 bits first, and at the few that may be
among the best in full. Equal vectors are one to them, and are expanded in answers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trident.errors import ConfigError, VectorIndexError
from trident.index.codes import Codes, encode
from trident.index.equal_vectors import merge_equal
from trident.index.exact_search import Neighbours, check_positive, check_unit_rows, exact_search, recall
from trident.index.expand import Members
from trident.index.files import (
    CODES_FILE,
    LOWEST_FILE,
    MEMBERS_FILE,
    NO_ROW,
    REMEDY,
    SCALES_FILE,
    UPPER_FILE,
    VECTORS_FILE,
    read_index_files,
    write_index_files,
)
from trident.index.graph import Graph, IndexConfig, build_graph
from trident.index.kernels import kernels
from trident.index.permitted import Permitted
from trident.index.search_ways import Found, open_vectors
from trident.index.ways import Cuts, Way

__all__ = ["IndexConfig", "Neighbours", "Permitted", "VectorIndex", "exact_search", "recall"]

EF = 256  # of a graph that was not measured


class _Asked(NamedTuple):
    """What queries share that are searched together."""

    way: Way
    depth: int
    ef: int
    filter: int  # place of the first query with the same one


class VectorIndex:
    """An index over N product rows; ``build`` or ``load`` one. Searching is safe from several threads.

    Args:
        vectors: (U, D) float32, the different vectors by label, in memory or mapped.
        codes: Of them.
        graph: Over them; None: all are compared.
        label_of_row: (N,) int64, the label of each product row.
        config: How the graph was built; its ``ef`` is the default one.
        encoder_fingerprint: The encoder that made the vectors.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        codes: Codes,
        graph: Graph | None,
        label_of_row: NDArray[np.int64],
        *,
        config: IndexConfig,
        encoder_fingerprint: str,
    ) -> None:
        """Keep the parts; see the class for the arguments."""
        self._nearest = open_vectors(vectors, codes, graph)
        self._members = Members(label_of_row)
        self._codes, self._graph = codes, graph
        self._exact_threads = 1
        self.config = config
        self.cuts = Cuts()
        self.encoder_fingerprint = encoder_fingerprint
        self.dimension = int(vectors.shape[1])
        self.count = len(label_of_row)  # product rows
        self.unique_count = len(vectors)  # different vectors

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        *,
        config: IndexConfig,
        encoder_fingerprint: str,
        threads: int = 1,
        progress: Callable[[int], None] | None = None,
        links: bool = True,
    ) -> VectorIndex:
        """Return an index over product embeddings; without the kernels it has no graph.

        Args:
            vectors: (N, D) float32, rows of unit length; row n is product row n.
            config: The settings of the graph.
            encoder_fingerprint: The encoder that made the vectors.
            threads: Change nothing but the time.
            progress: Called with the number of rows done since the last call.
            links: Whether there is to be a graph: none is needed where something else searches the vectors.

        Raises:
            VectorIndexError: If there is no vector or one is not finite or not of unit length.
        """
        check_unit_rows(vectors, name="vectors")
        if not len(vectors):
            raise VectorIndexError("an index needs at least one vector, got none: check the catalogue")
        if not encoder_fingerprint:
            raise VectorIndexError("an index needs the fingerprint of its encoder, got an empty one")
        check_positive("threads", threads)
        label_of_row, first_rows = merge_equal(vectors)
        rows, different = len(vectors), len(first_rows)
        vectors = np.ascontiguousarray(vectors if different == rows else vectors[first_rows])
        codes = encode(vectors)
        done = [0, 0]  # different vectors, and product rows

        def count(added: int) -> None:
            done[0] += added
            now = rows * done[0] // different
            if progress is not None:
                progress(now - done[1])
            done[1] = now

        graph = None if kernels() is None or not links else build_graph(codes, config, threads=threads, progress=count)
        if graph is None:
            count(different)
        return cls(vectors, codes, graph, label_of_row, config=config, encoder_fingerprint=encoder_fingerprint)

    def save(self, folder: Path) -> None:
        """Write the files of ``trident.index.files`` into a folder.

        Raises:
            VectorIndexError: If a file cannot be written in full.
        """
        arrays: dict[str, NDArray[Any]] = {
            VECTORS_FILE: self._nearest.vectors,
            CODES_FILE: self._codes.rows,
            SCALES_FILE: np.stack([self._codes.scales, self._codes.lost]),
            MEMBERS_FILE: self._members.label_of_row.astype(np.int32),
        }
        if self._graph is not None:
            arrays |= {LOWEST_FILE: self._graph.lowest, UPPER_FILE: self._graph.upper}
        settings = {
            "m": self.config.m,
            "ef_construction": self.config.ef_construction,
            "ef": self.ef,
            "seed": self.config.seed,
            "dimension": self.dimension,
            "count": self.count,
            "unique_count": self.unique_count,
            "has_graph": self._graph is not None,
            "entry": 0 if self._graph is None else self._graph.entry,
            "upper_entry": NO_ROW if self._graph is None else self._graph.upper_entry,
            "encoder_fingerprint": self.encoder_fingerprint,
        }
        write_index_files(folder, arrays, settings, self.cuts)

    @classmethod
    def load(cls, folder: Path, *, encoder_fingerprint: str | None = None, flat_threads: int = 1) -> VectorIndex:
        """Return the index of a folder.

        Args:
            folder: Where an index was saved.
            encoder_fingerprint: The encoder whose queries will be searched; None accepts any.
            flat_threads: Of the comparison with all vectors.

        Raises:
            VectorIndexError: If a file is missing, truncated, changed or inconsistent, or of another encoder.
        """
        stored = read_index_files(folder, encoder_fingerprint=encoder_fingerprint)
        record = stored.record
        try:
            config = IndexConfig(m=record.m, ef_construction=record.ef_construction, ef=record.ef, seed=record.seed)
        except ConfigError as error:
            raise VectorIndexError(f"index record in {folder} is damaged: {error}; {REMEDY}") from error
        index = cls(
            stored.vectors,
            stored.codes,
            stored.graph,
            stored.label_of_row,
            config=config,
            encoder_fingerprint=record.encoder_fingerprint,
        )
        index.cuts = stored.cuts
        return index.for_lone(flat_threads)

    def for_lone(self, threads: int) -> VectorIndex:
        """Return the same index, whose comparison with all vectors runs on other threads."""
        check_positive("threads", threads)
        lone = copy.copy(self)  # of the same vectors and graph
        lone._exact_threads = threads
        return lone

    @property
    def ef(self) -> int:
        """Candidates kept while searching the graph, unless a query says otherwise."""
        return EF if self.config.ef is None else self.config.ef

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph, and the kernels that walk it."""
        return self._nearest.has_graph

    @property
    def is_exact(self) -> bool:
        """Whether a query that names no ``ef`` is compared with every vector."""
        return self._way(None, self.unique_count) == "all"

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        ef: int | None = None,
        permitted: Permitted | None = None,
        threads: int = 1,
    ) -> Neighbours:
        """Return the k product rows nearest to each query, (B, k).

        Args:
            queries: (B, D) float32, rows of unit length.
            k: Rows a query, >= 1; more than there are is padded.
            ef: Candidates kept while searching the graph, raised to k; None: by the index's own, or by comparing.
            permitted: The rows that may be answered; None: all.
            threads: Of the graph's search.

        Raises:
            VectorIndexError: If the queries break a rule of ``check_unit_rows``, k, ef or threads < 1, or a permitted
                row is not in the index.
        """
        check_positive("k", k)
        if len(queries) == 0:
            check_unit_rows(queries, name="queries", dimension=self.dimension)
            nothing = np.empty((0, k), dtype=np.int64)
            return Neighbours(nothing, nothing.astype(np.float32), np.empty(0, dtype=np.int32))
        every = [permitted] * len(queries)
        return self.search_each(queries, [k] * len(queries), [ef] * len(queries), permitted=every, threads=threads)

    def search_each(
        self,
        queries: NDArray[np.float32],
        ks: Sequence[int],
        efs: Sequence[int | None],
        *,
        permitted: Sequence[Permitted | None] | None = None,
        threads: int = 1,
    ) -> Neighbours:
        """Return ``ks[b]`` product rows for query b, searched with ``efs[b]``: what ``search`` gives for it alone.

        Args:
            queries: (B, D) float32, rows of unit length.
            ks: B numbers of rows, >= 1; the answer is as wide as the largest.
            efs: B numbers of candidates, >= 1, or None; as for ``search``.
            permitted: B filters, or None; None: no query has one.
            threads: As for ``search``.

        Raises:
            VectorIndexError: As ``search``, or if ``ks``, ``efs`` or ``permitted`` has another length than the queries.
        """
        for k in set(ks):
            check_positive("k", k)
        for ef in set(efs) - {None}:
            check_positive("ef", ef or 0)
        check_positive("threads", threads)
        check_unit_rows(queries, name="queries", dimension=self.dimension)
        filters = [None] * len(queries) if permitted is None else permitted
        if not len(queries) == len(ks) == len(efs) == len(filters):
            raise VectorIndexError(
                f"each query needs its k, ef and filter, got {len(queries)}, {len(ks)}, {len(efs)} and {len(filters)}"
            )
        width = max(ks, default=1)
        wanted = np.array(ks, dtype=np.int64)  # (B,)
        rows = np.full((len(queries), width), -1, dtype=np.int64)
        scores = np.full((len(queries), width), np.nan, dtype=np.float32)
        found = np.minimum(wanted, self.count).astype(np.int32)
        for asked, group in self._groups(ks, efs, filters):
            is_all = len(group) == len(queries)
            which = filters[group[0]]
            labels, cosines = self._find(queries if is_all else queries[group], asked, which, threads)
            if which is not None:
                line, rank, row, score = self._members.expand_permitted(labels, cosines, wanted[group], which)
                found[group] = np.minimum(wanted[group], len(which.rows))
            else:
                if is_all and labels.shape[1] >= width and min(ks) == width:  # the most frequent case by far
                    plain = self._members.rows_if_plain(labels[:, :width], cosines[:, : width + 1])
                    if plain is not None:
                        return Neighbours(plain, np.ascontiguousarray(cosines[:, :width]), found)
                line, rank, row, score = self._members.expand(labels, cosines, wanted[group])
            rows[group[line], rank], scores[group[line], rank] = row, score
        return Neighbours(rows, scores, found)

    def search_exactly(self, queries: NDArray[np.float32], k: int, *, permitted: Permitted | None = None) -> Neighbours:
        """Return what ``search`` returns, and raises, where its graph misses nothing: every vector is compared."""
        sure = copy.copy(self)
        sure.cuts = Cuts(exact_up_to=self.unique_count, gathered_up_to=self.cuts.gathered_up_to)
        return sure.search(queries, k, permitted=permitted)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of product rows, as they are stored."""
        return self._nearest.rows(self._members.label_of_row[rows]).reshape(-1, self.dimension)

    @property
    def different_vectors(self) -> NDArray[np.float32]:
        """The different vectors by label, (U, D): mapped, where the index was loaded."""
        return self._nearest.vectors

    def _groups(
        self, ks: Sequence[int], efs: Sequence[int | None], filters: Sequence[Permitted | None]
    ) -> Iterator[tuple[_Asked, NDArray[np.intp]]]:
        """Yield the queries that share way, depth and filter; what is asked depends on a query alone, not its batch."""
        if len(set(ks)) == len(set(efs)) == len(set(map(id, filters))) == 1:  # the most frequent case by far
            yield self._asked(ks[0], efs[0], filters[0], 0), np.arange(len(ks))
            return
        groups: dict[_Asked, list[int]] = {}
        first: dict[int, int] = {}
        for number, (k, ef, which) in enumerate(zip(ks, efs, filters, strict=True)):
            asked = self._asked(k, ef, which, first.setdefault(id(which), number))
            groups.setdefault(asked, []).append(number)
        for asked, numbers in groups.items():
            yield asked, np.array(numbers, dtype=np.intp)

    def _asked(self, k: int, ef: int | None, which: Permitted | None, place: int) -> _Asked:
        labels = None if which is None else which.in_labels(self._members.label_of_row, self.unique_count)
        way = self._way(ef, self.unique_count if labels is None else labels.size)
        depth = min(k, self.unique_count)
        deep = min(max(k, self.ef if ef is None else ef), self.unique_count) if way == "graph" else 0
        return _Asked(way, depth, deep, place)

    def way(self, ef: int | None = None, permitted: Permitted | None = None) -> Way:
        """Return how a query with this ``ef`` and filter is searched; a walk that fails gives way to comparing."""
        if permitted is None:
            return self._way(ef, self.unique_count)
        return self._way(ef, permitted.in_labels(self._members.label_of_row, self.unique_count).size)

    def _way(self, ef: int | None, permitted: int) -> Way:
        if not self.has_graph:
            return self.cuts.exact_way(permitted, self.unique_count)
        return self.cuts.way(permitted, self.unique_count, named_ef=ef is not None)

    def _find(self, queries: NDArray[np.float32], asked: _Asked, which: Permitted | None, threads: int) -> Found:
        permitted = None if which is None else which.in_labels(self._members.label_of_row, self.unique_count)
        if asked.way == "graph":
            there = self.unique_count if permitted is None else permitted.size
            gather = self.cuts.exact_way(there, self.unique_count) == "gathered"
            return self._nearest.by_graph(queries, asked.depth, asked.ef, permitted, gather=gather, threads=threads)
        return self._nearest.by_comparing(
            queries, asked.depth, permitted, gather=asked.way == "gathered", threads=self._exact_threads
        )

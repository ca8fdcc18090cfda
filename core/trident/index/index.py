"""The index over product embeddings: build, save, load, search; every trap of hnswlib is closed here.

hnswlib 0.8.0 loses recall among equal vectors (they are merged, and expanded in answers), forgets ``ef`` on save,
keeps one global ``ef``, reads past a query of the wrong dimension, accepts NaN, and raises when its graph reaches
fewer vectors than were asked for. It loses recall among near copies that are added one after the other, too: vectors
are added in a random order that the seed gives.

Source: Malkov and Yashunin 2016, "Efficient and robust approximate nearest neighbor search using HNSW graphs"; hnswlib.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from trident.config import to_table
from trident.errors import ConfigError, VectorIndexError
from trident.index.equal_vectors import merge_equal
from trident.index.exact_search import Neighbours, check_positive, check_unit_rows, exact_search, recall
from trident.index.files import FLAT_RECORD_FILE, REMEDY, SPACE, read_index_files, read_vectors, write_index_files
from trident.index.flat_search import FlatSearch

__all__ = ["IndexConfig", "Neighbours", "VectorIndex", "exact_search", "recall"]

BUILD_BLOCK = 1024  # vectors between two calls of progress
NO_MORE_REACHED = "contiguous 2D array"  # what hnswlib says when its graph reaches fewer vectors than it was asked for

_Group = tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]  # queries (G,); labels, cosines (G, depth)
# Answers as a flat list: query, place within its answer, product row, cosine; (R,) each.
_Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How the graph is built and searched.

    Raises:
        ConfigError: If a value is outside its range.
    """

    m: int = 32  # links a vector (twice as many on the lowest layer), 2 to 100
    ef_construction: int = 500  # candidates kept while building, >= m
    ef: int = 512  # candidates kept while searching unless a query says otherwise, >= 1
    seed: int = 42  # of the layers and of the order in which vectors are added, 0 to 2**31 - 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.m <= 100:
            raise ConfigError(f"m must be 2 to 100 links, got {self.m}")
        if self.ef_construction < self.m:
            raise ConfigError(f"ef_construction must be >= m ({self.m}) to fill the links, got {self.ef_construction}")
        if self.ef < 1:
            raise ConfigError(f"ef must be >= 1, got {self.ef}")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed must be 0 to {2**31 - 1}, got {self.seed}")


class VectorIndex:
    """An index over N product rows; ``build`` or ``load`` one.

    Searching is safe from several threads: hnswlib's global ``ef`` is set and used under a lock.

    Args:
        graph: hnswlib's graph; its labels are the numbers of the different vectors.
        label_of_row: (N,) int64, the label of each product row.
        config: How the graph was built, and the default ``ef``.
        encoder_fingerprint: The encoder that made the vectors.
        flat: Answers exactly what names no ``ef``; None: the graph does.
    """

    def __init__(
        self,
        graph: hnswlib.Index,
        label_of_row: NDArray[np.int64],
        *,
        config: IndexConfig,
        encoder_fingerprint: str,
        flat: FlatSearch | None = None,
    ) -> None:
        """Keep the parts; see the class for the arguments."""
        self._graph = graph
        self._lock = threading.Lock()
        self._label_of_row = label_of_row
        self._rows_by_label = np.argsort(label_of_row, kind="stable")  # (N,), ascending within a label
        self._sizes = np.bincount(label_of_row)  # (U,) rows a label
        self._starts = np.cumsum(self._sizes) - self._sizes  # (U,) where a label starts in _rows_by_label
        self.config = config
        self.encoder_fingerprint = encoder_fingerprint
        self.flat = flat
        self.dimension = int(graph.dim)
        self.count = len(label_of_row)  # product rows
        self.unique_count = len(self._sizes)  # different vectors

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        *,
        config: IndexConfig,
        encoder_fingerprint: str,
        threads: int = 1,
        progress: Callable[[int], None] | None = None,
    ) -> VectorIndex:
        """Return an index over product embeddings.

        Args:
            vectors: (N, D) float32, rows of unit length; row n is product row n.
            config: The settings of the graph.
            encoder_fingerprint: The encoder that made the vectors.
            threads: 1 gives the same bytes for the same vectors and seed; more are faster, and no two graphs are equal.
            progress: Called with the number of rows done since the last call.

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
        sizes = np.bincount(label_of_row)  # (U,) rows a label
        # Variants stand side by side in catalogues; added side by side they fill each other's links, and are not found.
        order = np.random.default_rng(config.seed).permutation(len(first_rows))  # (U,) labels, which stay in row order
        graph = hnswlib.Index(space=SPACE, dim=vectors.shape[1])
        graph.init_index(len(first_rows), M=config.m, ef_construction=config.ef_construction, random_seed=config.seed)
        for start in range(0, len(first_rows), BUILD_BLOCK):
            labels = order[start : start + BUILD_BLOCK]
            graph.add_items(vectors[first_rows[labels]], labels, num_threads=threads)
            if progress is not None:
                progress(int(sizes[labels].sum()))
        return cls(graph, label_of_row, config=config, encoder_fingerprint=encoder_fingerprint)

    def save(self, folder: Path) -> None:
        """Write ``index.hnsw``, ``members.npy`` and, last, ``index.json`` into a folder, and remove its flat search.

        Raises:
            VectorIndexError: If a file cannot be written in full.
        """
        settings = {
            **to_table(self.config),
            "dimension": self.dimension,
            "count": self.count,
            "unique_count": self.unique_count,
            "encoder_fingerprint": self.encoder_fingerprint,
        }
        write_index_files(folder, self._graph, self._label_of_row, settings)

    @classmethod
    def load(cls, folder: Path, *, encoder_fingerprint: str | None = None, flat_threads: int = 1) -> VectorIndex:
        """Return the index of a folder, with the flat search that lies beside it.

        Args:
            folder: Where an index was saved.
            encoder_fingerprint: The encoder whose queries will be searched; None accepts any.
            flat_threads: Of the flat search.

        Raises:
            VectorIndexError: If a file is missing, truncated, changed or inconsistent, or of another encoder.
        """
        stored = read_index_files(folder, encoder_fingerprint=encoder_fingerprint)
        record = stored.record
        try:
            config = IndexConfig(m=record.m, ef_construction=record.ef_construction, ef=record.ef, seed=record.seed)
        except ConfigError as error:
            raise VectorIndexError(f"index record in {folder} is damaged: {error}; {REMEDY}") from error
        flat = None
        if (folder / FLAT_RECORD_FILE).is_file():
            vectors = read_vectors(folder, record)
            flat = FlatSearch.load(folder, vectors, index_sha256=record.index_sha256, threads=flat_threads)
        fingerprint = record.encoder_fingerprint
        return cls(stored.graph, stored.label_of_row, config=config, encoder_fingerprint=fingerprint, flat=flat)

    def for_lone(self, threads: int) -> VectorIndex:
        """Return the same index, whose flat search, where it has one, runs on other threads."""
        lone = copy.copy(self)  # of the same graph, under the same lock
        lone.flat = None if self.flat is None else self.flat.for_lone(threads)
        return lone

    def search(self, queries: NDArray[np.float32], k: int, *, ef: int | None = None, threads: int = 1) -> Neighbours:
        """Return the k product rows nearest to each query, (B, k).

        Args:
            queries: (B, D) float32, rows of unit length.
            k: Rows a query, >= 1; more than the index has is padded.
            ef: Candidates kept while searching the graph, raised to k; None: the flat search answers where there is
                one, or the graph by the config's.
            threads: Of the graph's search. hnswlib uses one for up to 4 x threads queries, whatever this says.

        Raises:
            VectorIndexError: If the queries break a rule of ``check_unit_rows``, or k, ef or threads < 1.
        """
        check_positive("k", k)
        return self._search(queries, [k] * len(queries), [ef] * len(queries), width=k, threads=threads)

    def search_each(
        self, queries: NDArray[np.float32], ks: Sequence[int], efs: Sequence[int | None], *, threads: int = 1
    ) -> Neighbours:
        """Return ``ks[b]`` product rows for query b, searched with ``efs[b]``: what ``search`` gives for it alone.

        Args:
            queries: (B, D) float32, rows of unit length.
            ks: B numbers of rows, >= 1; the answer is as wide as the largest.
            efs: B numbers of candidates, >= 1, or None; as for ``search``.
            threads: As for ``search``.

        Raises:
            VectorIndexError: As ``search``, or if ``ks`` or ``efs`` has another length than the queries.
        """
        for k in set(ks):
            check_positive("k", k)
        return self._search(queries, ks, efs, width=max(ks, default=1), threads=threads)

    def search_exactly(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """Return what ``search`` returns, and raises, where its graph misses nothing: every vector is compared."""
        exact = exact_search(self.different_vectors, queries, min(k, self.unique_count))
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), np.nan, dtype=np.float32)
        line, rank, row, score = self._expand(exact.rows, exact.scores, np.full(len(queries), k))
        rows[line, rank], scores[line, rank] = row, score
        return Neighbours(rows, scores, np.full(len(queries), min(k, self.count), dtype=np.int32))

    @property
    def label_of_row(self) -> NDArray[np.int64]:
        """The number of each product's vector among the different ones, (N,)."""
        return self._label_of_row

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of product rows, as they are stored."""
        return np.asarray(self._graph.get_items(self._label_of_row[rows]), dtype=np.float32).reshape(-1, self.dimension)

    def _search(
        self,
        queries: NDArray[np.float32],
        ks: Sequence[int],
        efs: Sequence[int | None],
        *,
        width: int,
        threads: int,
    ) -> Neighbours:
        """Search the queries that share way and depth together, and write each answer into its line of (B, width)."""
        check_unit_rows(queries, name="queries", dimension=self.dimension)
        check_positive("threads", threads)
        if not len(queries) == len(ks) == len(efs):
            raise VectorIndexError(f"each query needs its k and ef, got {len(queries)}, {len(ks)} and {len(efs)}")
        if self.flat is not None and width <= self.unique_count and set(ks) == {width} and set(efs) == {None}:
            labels, cosines = self.flat.nearest(queries, width)  # (B, width)
            if self._are_rows(labels, cosines):  # the most frequent case by far, and the shortest way for it
                found = np.full(len(queries), width, dtype=np.int32)
                return Neighbours(self._rows_by_label[self._starts[labels]], cosines, found)
            groups: Iterable[_Group] = [(np.arange(len(queries)), labels, cosines)]
        else:
            groups = self._groups(queries, ks, efs, threads)
        wanted = np.array(ks, dtype=np.int64)  # (B,)
        rows = np.full((len(queries), width), -1, dtype=np.int64)
        scores = np.full((len(queries), width), np.nan, dtype=np.float32)
        for group, labels, cosines in groups:
            line, rank, row, score = self._expand(labels, cosines, wanted[group])
            rows[group[line], rank], scores[group[line], rank] = row, score
        return Neighbours(rows, scores, np.minimum(wanted, self.count).astype(np.int32))

    def _groups(
        self, queries: NDArray[np.float32], ks: Sequence[int], efs: Sequence[int | None], threads: int
    ) -> Iterator[_Group]:
        """Yield the queries that share way and depth, with their nearest labels and the cosines of these."""
        flat = np.array([self.flat is not None and ef is None for ef in efs], dtype=bool)  # (B,)
        depths = np.array([self._depth(k, ef) for k, ef in zip(ks, efs, strict=True)], dtype=np.int64)  # (B,)
        ways = sorted(set(zip(flat.tolist(), depths.tolist(), strict=True)))
        for is_flat, depth in ways:
            group = np.flatnonzero((flat == is_flat) & (depths == depth))  # (G,)
            asked = queries if len(ways) == 1 else queries[group]
            if is_flat and self.flat is not None:
                yield group, *self.flat.nearest(asked, depth)
            else:
                yield group, *self._nearest_labels(asked, depth, threads)

    def _depth(self, k: int, ef: int | None) -> int:
        """Return how many different vectors are looked up: it depends on the query alone, never on its batch."""
        if ef is None:
            return min(k if self.flat is not None else max(k, self.config.ef), self.unique_count)
        check_positive("ef", ef)
        return min(max(k, ef), self.unique_count)

    def _nearest_labels(
        self, queries: NDArray[np.float32], depth: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ``depth`` nearest labels and their cosines, best first, ties by label: (B, depth) each."""
        found = self._ask_graph(queries, depth, threads)
        if found is not None:
            return found
        # Some query reached fewer vectors than asked for; each is asked alone so that the others keep their answers.
        labels = np.empty((len(queries), depth), dtype=np.int64)
        cosines = np.empty((len(queries), depth), dtype=np.float32)
        for number in range(len(queries)):
            query = queries[number : number + 1]
            found = self._ask_graph(query, depth, threads)
            if found is None:  # the search saw all that it can reach, so that a larger ef would find no more
                logger.warning("the graph reaches fewer than %d vectors: exact search instead", depth)
                exact = exact_search(self.different_vectors, query, depth)
                found = exact.rows, exact.scores
            labels[number], cosines[number] = found[0][0], found[1][0]
        return labels, cosines

    def _ask_graph(
        self, queries: NDArray[np.float32], depth: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """Return hnswlib's answer, or None where its graph reaches fewer than ``depth`` vectors."""
        with self._lock:
            self._graph.set_ef(depth)
            try:
                labels, distances = self._graph.knn_query(queries, k=depth, num_threads=threads)
            except RuntimeError as error:
                if NO_MORE_REACHED not in str(error):
                    raise
                return None
        return labels.astype(np.int64), np.clip(1.0 - distances, -1.0, 1.0)

    @cached_property
    def different_vectors(self) -> NDArray[np.float32]:
        """The different vectors by label, (U, D): the flat search's, or a copy out of the graph when first needed."""
        if self.flat is not None:
            return self.flat.vectors
        return np.asarray(self._graph.get_items(np.arange(self.unique_count)), dtype=np.float32)

    def _are_rows(self, labels: NDArray[np.int64], cosines: NDArray[np.float32]) -> bool:
        """Return whether there is nothing to expand: no label stands for several rows, and no two tie."""
        return bool((self._sizes[labels] == 1).all() and (cosines[:, 1:] < cosines[:, :-1]).all())

    def _expand(self, labels: NDArray[np.int64], cosines: NDArray[np.float32], wanted: NDArray[np.int64]) -> _Places:
        """Return the product rows of labels (B, depth) with their places; ``wanted`` (B,) cuts each query off."""
        last = np.minimum(wanted, labels.shape[1]) - 1  # (B,), each label stands for a row at least
        reach = (cosines >= cosines[np.arange(len(last)), last][:, None]).sum(axis=1).max(initial=0)  # ties count
        labels, cosines, k = labels[:, :reach], cosines[:, :reach], wanted[:, None]  # k is (B, 1)
        sizes = np.minimum(self._sizes[labels], k)  # (B, depth), rows of a label that may be needed
        before = np.cumsum(sizes, axis=1) - sizes  # (B, depth), rows of better labels
        lowest = np.where(before < k, cosines, np.inf).min(axis=1, keepdims=True)  # (B, 1)
        line, column = np.nonzero(cosines >= lowest)  # (T,), labels that tie with the last one compete by row number
        size = sizes[line, column]  # (T,)
        inside = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)  # (R,), number within the label
        row = self._rows_by_label[np.repeat(self._starts[labels[line, column]], size) + inside]  # (R,)
        score, line = np.repeat(cosines[line, column], size), np.repeat(line, size)
        order = np.lexsort((row, -score, line))  # (R,)
        line = line[order]
        rank = np.arange(len(line)) - np.searchsorted(line, line)  # (R,), place within the query
        best = rank < wanted[line]
        return line[best], rank[best], row[order][best], score[order][best]

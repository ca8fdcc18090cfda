"""Embeddings to products of a live catalogue: a retriever whose answers are those of the published number."""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, Rows
from trident.attributes.filters import All
from trident.data.texts import RowsByText, Texts
from trident.errors import LiveError
from trident.generation.generation import generation_by_id
from trident.index.index import Neighbours
from trident.journal.folder import LiveFolder
from trident.journal.golden_mark import is_golden
from trident.journal.standing import OwnStanding
from trident.lexical.index import LexicalIndex
from trident.lexical.tail import LiveLexical, TailWords
from trident.live.changed import SnapshotAttributes
from trident.live.follower import Follower
from trident.live.merging import Answerable, Searched, nearest, nearest_exactly
from trident.live.preparing import vector_file
from trident.live.snapshot import Snapshot
from trident.live.vectors import Embed
from trident.retrieval.products import Found, Lexical, Way
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import NOTHING_TO_SAY, Hits, Retriever
from trident.retrieval.tensors import EMPTY_SCORE
from trident.rules.effects import NamedProducts

LIVE = "TRIDENT_LIVE"  # the folder of generations, where the catalogue is live; a variable of the server's process
LIVE_SERVING = "TRIDENT_LIVE_SERVING"  # the folder with state.json, likewise

logger = logging.getLogger(__name__)


class Base(Protocol):
    """What is known here of the products of a generation; rows of all are the same."""

    @property
    def attributes(self) -> Attributes:
        """Their attributes."""

    @property
    def product_ids(self) -> Texts:
        """Their ids."""

    @property
    def titles(self) -> Texts:
        """Their titles."""


class RetrieverRows:
    """The rows of a generation's catalogue, found by id; the first that is asked for sorts them."""

    def __init__(self, base: Base) -> None:
        """Keep what they are of."""
        self.columns: Attributes = base.attributes
        self._titles, self._ids = base.titles, base.product_ids

    @cached_property
    def _rows(self) -> RowsByText:
        return RowsByText(self._ids)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._titles)

    def row(self, product: str) -> int | None:
        """Return the row of a product; None: it has none."""
        return self._rows.row(product)

    def title(self, row: int) -> str:
        """Return the title of a row."""
        return self._titles[row]


class SnapshotProducts:
    """The products of a live catalogue at one number; see ``trident.retrieval.products.Products``.

    Args:
        searched: The snapshot, the index over its base, and the vectors of its tail.
        base: The generation's retriever.
        lexical: The words of the rows; None: they are found by vectors alone.
    """

    def __init__(self, searched: Searched, base: Base, lexical: Lexical | None = None) -> None:
        """Keep the parts."""
        self.lexical = lexical
        self.snapshot = searched.snapshot
        self.attributes = SnapshotAttributes(base.attributes, searched.snapshot)
        self._searched, self._base = searched, base

    @property
    def name(self) -> str:
        """What errors call them."""
        return f"the catalogue at number {self.snapshot.number:,}"

    @property
    def number(self) -> int | None:
        """The catalogue's number."""
        return self.snapshot.number

    @property
    def ef(self) -> int:
        """The search effort of a query that names none."""
        return self._searched.index.ef

    @property
    def rows(self) -> Rows:
        """The rows that hold a product."""
        return self.snapshot.rows

    @property
    def tail(self) -> Rows:
        """Those that the generation does not have, or has with another title."""
        return (self.snapshot.tail + self.snapshot.base_count).astype(np.uint32)

    def passing(self, node: All) -> Rows:
        """Return the rows that pass a filter."""
        return self.attributes.passing(node)

    def nearest(
        self, query: NDArray[np.float32], k: int, ef: int | None, permitted: Rows | None, *, threads: int = 1
    ) -> Found:
        """Return the k products nearest to a query among those that are permitted."""
        rows = Answerable.of(self.snapshot, permitted)
        found = nearest(self._searched, query, [k], [ef], answerable=rows, threads=threads)
        return Found.first(found, self._searched.index.way(ef, rows.of_base))

    def nearest_exactly(self, query: NDArray[np.float32], k: int, permitted: Rows | None) -> Neighbours:
        """Return the same by comparing each of them."""
        return nearest_exactly(self._searched, query, k, Answerable.of(self.snapshot, permitted))

    def nearest_each(
        self, queries: NDArray[np.float32], ks: Sequence[int], efs: Sequence[int | None], *, threads: int = 1
    ) -> tuple[Neighbours, tuple[Way, ...]]:
        """Return the products of each query, and its way."""
        found = nearest(self._searched, queries, ks, efs, threads=threads)
        return found, tuple(self._searched.index.way(ef, self.snapshot.kept) for ef in efs)

    def row(self, product_id: str) -> int | None:
        """Return the row of a product; None: there is none."""
        snapshot = self.snapshot
        row = self._base.product_ids.rows_of([product_id]).get(product_id)
        if row is not None and not snapshot.gone[row]:
            return row
        places = snapshot.tail[snapshot.places.ids[snapshot.tail] == product_id.encode()]
        return snapshot.base_count + int(places[0]) if len(places) else None

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of rows."""
        snapshot = self.snapshot
        if not len(snapshot.alive):  # no row is of the tail
            return self._searched.index.vectors(rows)
        in_tail = rows >= snapshot.base_count
        vectors = np.empty((len(rows), self._searched.index.dimension), dtype=np.float32)
        vectors[~in_tail] = self._searched.index.vectors(rows[~in_tail])
        vectors[in_tail] = self._searched.vectors.vectors[snapshot.places.rows[rows[in_tail] - snapshot.base_count]]
        return vectors

    def rows_named(self, named: NamedProducts) -> NDArray[np.int64]:
        """Return the rows of the named products that are there, in their order."""
        snapshot = self.snapshot
        rows = np.where(named.rows >= 0, named.rows, 0)
        rows = np.where((named.rows >= 0) & ~snapshot.gone[rows], named.rows, -1)
        missing = {named.ids[place].encode(): place for place in np.flatnonzero(rows < 0).tolist()}
        if missing and snapshot.tail_rows:
            for place in snapshot.tail.tolist():
                found = missing.get(snapshot.places.ids[place])
                if found is not None:
                    rows[found] = snapshot.base_count + place
        return rows[rows >= 0]

    def which_pass(self, node: All, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some rows pass a filter."""
        return self.attributes.which_pass(node, rows)

    def texts(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return ids and titles of rows, of their shape; empty for row -1, which is none."""
        snapshot, base = self.snapshot, self._base
        if not len(snapshot.alive):  # no row is of the tail
            return base.product_ids.bytes_at(rows), base.titles.bytes_at(rows)
        in_tail = rows >= snapshot.base_count
        base_rows = np.where(in_tail, -1, rows)
        ids, titles = base.product_ids.bytes_at(base_rows), base.titles.bytes_at(base_rows)
        if in_tail.any():  # then there was a row -1, and the arrays are their own
            places = rows[in_tail] - snapshot.base_count
            ids[in_tail], titles[in_tail] = snapshot.places.ids[places], snapshot.places.titles[places]
        return ids, titles


class FollowedWords:
    """The words of a tail, of the latest snapshot that was asked for.

    Args:
        index: Of the generation.
    """

    def __init__(self, index: LexicalIndex) -> None:
        """Begin with none."""
        self._tail = TailWords(index)
        self._numbering: object = None
        self._lock = threading.Lock()

    @property
    def words(self) -> Mapping[str, int]:
        """How many titles of the tail have each word of letters."""
        return self._tail.words

    @property
    def forms(self) -> Container[str]:
        """The stems of these words."""
        return self._tail.forms

    def at(self, snapshot: Snapshot) -> Lexical:
        """Return the words of a snapshot."""
        if snapshot.kept is None and not len(snapshot.alive):
            return self._tail.index
        with self._lock:
            if snapshot.places.numbering is not self._numbering:  # places were moved
                known, kept = snapshot.places.before or (None, None)
                if kept is None or known is not self._numbering or self._tail.is_mostly_gone:
                    self._tail = TailWords(self._tail.index)
                else:
                    self._tail = self._tail.renumbered(kept)
                self._numbering = snapshot.places.numbering
            tail, end = self._tail, len(snapshot.alive)
            if tail.end < end:
                tail.add(snapshot.places.titles[tail.end : end].tolist())
        return LiveLexical(tail, snapshot.gone, snapshot.alive)


class LiveRetriever(Retriever):
    """A generation's retriever, and what came since.

    Args:
        base: Of the generation.
        follower: Over its rows.
    """

    def __init__(self, base: Retriever, follower: Follower) -> None:
        """Take the parts of the base over."""
        self.index, self.identity, self.attributes = base.index, base.identity, base.attributes
        self.calibration, self.words = base.calibration, base.words
        self.product_ids, self.titles = base.product_ids, base.titles
        self.base, self.follower = base, follower
        self._tail = None if base.words is None else FollowedWords(base.words.lexical)
        self._latest: SnapshotProducts | None = None

    def for_lone(self, threads: int) -> LiveRetriever:
        """Return the same retriever, whose flat search, where it has one, runs on other threads."""
        lone = copy.copy(self)
        lone.base = self.base.for_lone(threads)
        lone.index, lone._latest = lone.base.index, None
        return lone

    def products(self) -> SnapshotProducts:
        """Return what is searched now: the catalogue at the published number."""
        try:
            snapshot = self.follower.catch_up()
        except (LiveError, OSError):  # the follower's thread says so; searches go on
            snapshot = self.follower.snapshot
        latest = self._latest
        if latest is not None and latest.snapshot is snapshot:
            return latest
        searched = Searched(snapshot, self.index, self.follower.vectors.searched)
        lexical = None if self._tail is None else self._tail.at(snapshot)
        self._latest = SnapshotProducts(searched, self.base, lexical)
        return self._latest

    def spelled(self, knobs: Sequence[SearchKnobs], *, of_base: bool = False) -> list[SearchKnobs]:
        """Return knobs that say what their texts mean; the words of what came since are right too."""
        if of_base or self.words is None or self._tail is None:
            return self.base.spelled(knobs)
        if self.words.settings.spelling:
            self.products()  # the tail's words are those of the published number
        return [self.words.spelled(knob, self._tail.words, self._tail.forms) for knob in knobs]

    def retrieve(
        self,
        embeddings: NDArray[np.float32],
        knobs: Sequence[SearchKnobs],
        *,
        threads: int = 1,
        of_base: Sequence[bool] | None = None,
    ) -> Hits:
        """Return the products nearest to B embeddings; see ``Retriever.retrieve``.

        Args:
            embeddings: (B, D) float32, unit length.
            knobs: One a row.
            threads: Of the search in the graph.
            of_base: (B,) whether a row is asked of the generation alone; None: none is.

        Raises:
            VectorIndexError: If the embeddings have another width or are not of unit length.
            DataError: If a product that others shall be like is not there.
        """
        if of_base is not None and any(of_base):
            return self._mixed(embeddings, knobs, threads, np.array(of_base, dtype=bool))
        return super().retrieve(embeddings, knobs, threads=threads)

    def close(self) -> None:
        """End following."""
        self.follower.close()

    def _mixed(
        self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], threads: int, of_base: NDArray[np.bool_]
    ) -> Hits:
        """Return the hits of rows of which some are asked of the base alone."""
        parts = []
        for retriever, chosen in ((self.base, of_base), (self, ~of_base)):
            rows = np.flatnonzero(chosen)
            if len(rows):
                asked = [knobs[row] for row in rows]
                parts.append((rows, retriever.retrieve(embeddings[rows], asked, threads=threads)))
        return merged(parts, knobs)


def merged(parts: Sequence[tuple[NDArray[np.intp], Hits]], knobs: Sequence[SearchKnobs]) -> Hits:
    """Return the hits of B queries that were answered in parts, as wide as the largest k.

    Args:
        parts: The rows of each part among the B, and its hits.
        knobs: B of them.
    """
    shape = (len(knobs), max(knob.k for knob in knobs))
    ids, titles = np.full(shape, b"", dtype=np.object_), np.full(shape, b"", dtype=np.object_)
    scores = np.full(shape, EMPTY_SCORE, dtype=np.float32)
    counts = np.zeros((len(knobs), 1), dtype=np.int32)
    details = np.full((len(knobs), 1), NOTHING_TO_SAY, dtype=np.object_)
    ways, weak = [""] * len(knobs), set[int]()
    for rows, hits in parts:
        own = hits.scores.shape[1]
        ids[rows, :own], titles[rows, :own], scores[rows, :own] = hits.product_ids, hits.titles, hits.scores
        counts[rows], details[rows] = hits.counts, hits.details
        weak.update(rows[sorted(hits.weak)].tolist())
        for row, way in zip(rows.tolist(), hits.ways, strict=True):
            ways[row] = way
    return Hits(ids, scores, titles, counts, details, tuple(ways), frozenset(weak))


def live_retriever(retriever: Retriever, embed: Embed) -> Retriever:
    """Return a retriever that follows the live catalogue, where this process is told of one; else as it is.

    Args:
        retriever: Of a generation.
        embed: Its encoder, for titles.

    Raises:
        LiveError: If the log does not fit the generation.
    """
    if not os.environ.get(LIVE) or not retriever.is_local:  # a store has what came since
        return retriever
    generations = Path(os.environ[LIVE])
    generation, folder = generation_by_id(generations, retriever.identity.id), LiveFolder.of(generations)
    after = folder.start_of(generation.holds, generation.id)
    rows = RetrieverRows(retriever)
    server = os.environ.get(LIVE_SERVING)
    standing = OwnStanding(Path(server), generation.serial) if server else None
    follower = Follower(folder, rows, after, vector_file(folder, generation), embed, standing=standing)
    follower.catch_up()
    follower.start()
    return LiveRetriever(retriever, follower)


def asks_base(request_id: str) -> bool:
    """Return whether a request is asked of the generation alone, as golden queries are.

    Args:
        request_id: Of Triton's request.
    """
    return is_golden(request_id, os.environ.get(LIVE))

"""Embeddings to products of a live catalogue: a retriever whose answers are those of the published number."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.errors import LiveError
from trident.generation.generation import generation_by_id
from trident.journal.folder import LiveFolder
from trident.journal.golden_mark import is_golden
from trident.live.follower import Follower
from trident.live.merging import Searched, nearest
from trident.live.preparing import vector_file
from trident.live.snapshot import Snapshot
from trident.live.vectors import Embed
from trident.search.requests import SearchKnobs
from trident.search.retriever import Hits, Retriever
from trident.search.tensors import EMPTY_SCORE

LIVE = "TRIDENT_LIVE"  # the folder of generations, where the catalogue is live; a variable of the server's process

logger = logging.getLogger(__name__)


class RetrieverRows:
    """The rows of a retriever's catalogue, found by id."""

    def __init__(self, retriever: Retriever) -> None:
        """Number the rows."""
        self._retriever = retriever
        self._row_of = {product: row for row, product in enumerate(retriever.product_ids[:-1].tolist())}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._row_of)

    def row(self, product: str) -> int | None:
        """Return the row of a product; None: it has none."""
        return self._row_of.get(product.encode())

    def title(self, row: int) -> str:
        """Return the title of a row."""
        title: bytes = self._retriever.titles[row]
        return title.decode()


class LiveRetriever(Retriever):
    """A generation's retriever, and what came since.

    Args:
        base: Of the generation.
        follower: Over its rows.
    """

    def __init__(self, base: Retriever, follower: Follower) -> None:
        """Take the parts of the base over."""
        self.index, self.identity = base.index, base.identity
        self.product_ids, self.titles = base.product_ids, base.titles
        self.base, self.follower = base, follower

    def for_lone(self, threads: int) -> LiveRetriever:
        """Return the same retriever, whose flat search, where it has one, runs on other threads."""
        lone = copy.copy(self)
        lone.base = self.base.for_lone(threads)
        lone.index = lone.base.index
        return lone

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
        """
        if of_base is not None and any(of_base):
            return self._mixed(embeddings, knobs, threads, np.array(of_base, dtype=bool))
        snapshot = self._snapshot()
        searched = Searched(snapshot, self.index, self.follower.vectors.vectors)
        found = nearest(searched, embeddings, [knob.k for knob in knobs], [knob.ef for knob in knobs], threads=threads)
        return self.hits(found, knobs, self._ids(found.rows, snapshot), details=b'{"sequence":%d}' % snapshot.number)

    def close(self) -> None:
        """End following."""
        self.follower.close()

    def _snapshot(self) -> Snapshot:
        try:
            return self.follower.catch_up()
        except (LiveError, OSError):  # the follower's thread says so; searches go on
            return self.follower.snapshot

    def _ids(self, rows: NDArray[np.int64], snapshot: Snapshot) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return ids and titles of rows, of the base and behind them of the tail."""
        if not snapshot.tail_rows:
            return self.product_ids[rows], self.titles[rows]
        count = len(snapshot.gone)
        in_tail = rows >= count
        base_rows = np.where(in_tail, -1, rows)
        ids, titles = self.product_ids[base_rows], self.titles[base_rows]
        if in_tail.any():
            ids[in_tail] = snapshot.places.ids[rows[in_tail] - count]
            titles[in_tail] = snapshot.places.titles[rows[in_tail] - count]
        return ids, titles

    def _mixed(
        self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], threads: int, of_base: NDArray[np.bool_]
    ) -> Hits:
        """Return the hits of rows of which some are asked of the base alone."""
        width = max(knob.k for knob in knobs)
        shape = (len(knobs), width)
        all_hits = Hits(
            np.full(shape, b"", dtype=np.object_),
            np.full(shape, EMPTY_SCORE, dtype=np.float32),
            np.full(shape, b"", dtype=np.object_),
            np.zeros((len(knobs), 1), dtype=np.int32),
            np.full((len(knobs), 1), b"{}", dtype=np.object_),
        )
        for retriever, chosen in ((self.base, of_base), (self, ~of_base)):
            rows = np.flatnonzero(chosen)
            if not len(rows):
                continue
            hits = retriever.retrieve(embeddings[rows], [knobs[row] for row in rows], threads=threads)
            own = hits.scores.shape[1]
            all_hits.product_ids[rows, :own], all_hits.titles[rows, :own] = hits.product_ids, hits.titles
            all_hits.scores[rows, :own] = hits.scores
            all_hits.counts[rows], all_hits.details[rows] = hits.counts, hits.details
        return all_hits


def live_retriever(retriever: Retriever, embed: Embed) -> Retriever:
    """Return a retriever that follows the live catalogue, where this process is told of one; else as it is.

    Args:
        retriever: Of a generation.
        embed: Its encoder, for titles.

    Raises:
        LiveError: If the log does not fit the generation.
    """
    if not os.environ.get(LIVE):
        return retriever
    generations = Path(os.environ[LIVE])
    generation, folder = generation_by_id(generations, retriever.identity.id), LiveFolder.of(generations)
    after = folder.start_of(generation.holds, generation.id)
    rows = RetrieverRows(retriever)
    follower = Follower(folder, rows, after, vector_file(folder, generation), embed)
    follower.catch_up()
    follower.start()
    return LiveRetriever(retriever, follower)


def asks_base(request_id: str) -> bool:
    """Return whether a request is asked of the generation alone, as golden queries are.

    Args:
        request_id: Of Triton's request.
    """
    return is_golden(request_id, os.environ.get(LIVE))

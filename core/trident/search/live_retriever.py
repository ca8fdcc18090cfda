"""Embeddings to products of a live catalogue: a retriever whose answers are those of the published number."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.data.texts import RowsByText
from trident.errors import DataError, LiveError
from trident.generation.generation import generation_by_id
from trident.journal.folder import LiveFolder
from trident.journal.golden_mark import is_golden
from trident.live.follower import Follower
from trident.live.merging import Searched, nearest
from trident.live.preparing import vector_file
from trident.live.snapshot import Snapshot
from trident.live.vectors import Embed
from trident.search.options import Page
from trident.search.requests import SearchKnobs
from trident.search.retriever import NOTHING_TO_SAY, Hits, Retriever, Said
from trident.search.tensors import EMPTY_SCORE

LIVE = "TRIDENT_LIVE"  # the folder of generations, where the catalogue is live; a variable of the server's process

logger = logging.getLogger(__name__)


class RetrieverRows:
    """The rows of a retriever's catalogue, found by id."""

    def __init__(self, retriever: Retriever) -> None:
        """Sort the ids."""
        self._titles = retriever.titles
        self._rows = RowsByText(retriever.product_ids)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._titles)

    def row(self, product: str) -> int | None:
        """Return the row of a product; None: it has none."""
        return self._rows.row(product)

    def title(self, row: int) -> str:
        """Return the title of a row."""
        return self._titles[row]


class LiveRetriever(Retriever):
    """A generation's retriever, and what came since.

    Args:
        base: Of the generation.
        follower: Over its rows.
    """

    def __init__(self, base: Retriever, follower: Follower) -> None:
        """Take the parts of the base over."""
        self.index, self.identity, self.attributes = base.index, base.identity, base.attributes
        self.product_ids, self.titles = base.product_ids, base.titles
        self.base, self.follower = base, follower

    @property
    def takes_rules(self) -> bool:
        """Whether merchandisers' rules hold: they are pages, which are not answered."""
        return False

    def for_lone(self, threads: int) -> LiveRetriever:
        """Return the same retriever, whose flat search, where it has one, runs on other threads."""
        lone = copy.copy(self)
        lone.base = self.base.for_lone(threads)
        lone.index = lone.base.index
        return lone

    def check_pages(self, knobs: Sequence[SearchKnobs]) -> None:
        """Raise where a page is asked for: it would be one of the generation, without what came since.

        Raises:
            DataError: Naming the key.
        """
        for knob in knobs:
            if knob.page is not None:
                raise DataError(
                    f"{key_of(knob.page)} is not answered over a live catalogue: compact it, and serve without --live"
                )

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
            DataError: If a page is asked for.
        """
        self.check_pages(knobs)
        if of_base is not None and any(of_base):
            return self._mixed(embeddings, knobs, threads, np.array(of_base, dtype=bool))
        snapshot = self._snapshot()
        searched = Searched(snapshot, self.index, self.follower.vectors.vectors)
        found = nearest(searched, embeddings, [knob.k for knob in knobs], [knob.ef for knob in knobs], threads=threads)
        ways = tuple(self.index.way(knob.ef, snapshot.kept) for knob in knobs)
        said = Said(*self._texts(found.rows, snapshot), ways, details=b'{"sequence":%d}' % snapshot.number)
        return self.hits(found, knobs, said)

    def close(self) -> None:
        """End following."""
        self.follower.close()

    def _snapshot(self) -> Snapshot:
        try:
            return self.follower.catch_up()
        except (LiveError, OSError):  # the follower's thread says so; searches go on
            return self.follower.snapshot

    def _texts(self, rows: NDArray[np.int64], snapshot: Snapshot) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return ids and titles of rows, of the base and behind them of the tail."""
        if not snapshot.tail_rows:
            return self.product_ids.bytes_at(rows), self.titles.bytes_at(rows)
        count = len(snapshot.gone)
        in_tail = rows >= count
        base_rows = np.where(in_tail, -1, rows)
        ids, titles = self.product_ids.bytes_at(base_rows), self.titles.bytes_at(base_rows)
        if in_tail.any():  # then there was a row -1, and the arrays are their own
            ids[in_tail] = snapshot.places.ids[rows[in_tail] - count]
            titles[in_tail] = snapshot.places.titles[rows[in_tail] - count]
        return ids, titles

    def _mixed(
        self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], threads: int, of_base: NDArray[np.bool_]
    ) -> Hits:
        """Return the hits of rows of which some are asked of the base alone."""
        width = max(knob.k for knob in knobs)
        shape = (len(knobs), width)
        ways = [""] * len(knobs)
        all_hits = Hits(
            np.full(shape, b"", dtype=np.object_),
            np.full(shape, EMPTY_SCORE, dtype=np.float32),
            np.full(shape, b"", dtype=np.object_),
            np.zeros((len(knobs), 1), dtype=np.int32),
            np.full((len(knobs), 1), NOTHING_TO_SAY, dtype=np.object_),
            (),
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
            for row, way in zip(rows.tolist(), hits.ways, strict=True):
                ways[row] = way
        return replace(all_hits, ways=tuple(ways))


def key_of(page: Page) -> str:
    """Return the first key of ``options`` that a page is made of."""
    keys = ("filter", "fields", "facets", "sort", "group", "offset", "like")
    named = (f"'{key}'" for key in keys if getattr(page, key))
    return next(named, "an empty query" if page.browses else "options")


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

"""Embeddings to products of an engine past one machine: the same door as the retriever over files.

What vectors alone answer is the engine's work, filters and all. Where words take part, or merchandisers' rules, the
engine finds what is near, and the ranking is that of files, over rows; see ``trident.retrieval.cluster_products``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from trident.cluster.asking import Wanted, by_id, cosines, nearest_each, vectors_of
from trident.cluster.collection import Collection, StoredState
from trident.cluster.connection import Connection
from trident.cluster.points import point_id
from trident.cluster.store import Store, collection_of, golden_of
from trident.errors import DataError, StoreError
from trident.generation.generation import Identity
from trident.generation.own_index import check_encoder
from trident.index.exact_search import check_unit_rows
from trident.index.files import read_index_record
from trident.ranking.calibration import Calibration
from trident.retrieval.cluster_pages import StorePage, StorePages, StoreQuery
from trident.retrieval.cluster_products import StoreChanges, StoredFiles, StoredProducts, StorePageSearch
from trident.retrieval.fused import FusedSearch
from trident.retrieval.live_retriever import merged
from trident.retrieval.options import LIKE
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import NOTHING_TO_SAY, Hits, Retriever, noted
from trident.retrieval.tensors import EMPTY_SCORE
from trident.retrieval.words import Words
from trident.stage_times import stage


class ClusterRetriever(Retriever):
    """The products of a generation in its collection.

    Before a batch is answered the collection is asked how far it is: a collection that was emptied or dropped is an
    error and no empty answer, and whatever is answered has at least what that number says.

    Args:
        collection: Of the products.
        golden: Of copies of those that golden queries find.
        identity: Of the generation.
        files: Of the generation.
        words: Of the generation; None: its products are found by vectors alone.
        calibration: Of the generation; None: it has none.
    """

    is_local = False

    def __init__(
        self,
        collection: Collection,
        golden: Collection,
        identity: Identity,
        files: StoredFiles,
        words: Words | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Hold the collection against the generation.

        Raises:
            StoreError: If it is not there in full.
        """
        self.collection, self.golden, self.identity = collection, golden, identity
        self.files, self.attributes = files, files.attributes
        self.product_ids, self.titles = files.product_ids, files.titles
        self.calibration = calibration or Calibration()
        self.words = None if words is None else self.with_words(words).words
        self._state()
        begins = golden.stated()
        if begins is None:
            raise StoreError(
                f"{golden.name} must say to which number generation {identity.id} goes, got nothing: it was loaded by "
                f"an earlier version; trident cluster load {identity.id} --again"
            )
        lexical = None if words is None else words.lexical
        self._changes = StoreChanges(collection, files, lexical, begins.number)
        if words is not None:
            self._now()  # the first query does not wait for what came

    @classmethod
    def open(cls, folder: Path, store: Store) -> ClusterRetriever:
        """Return the retriever of a version folder whose products are in a store.

        Raises:
            StoreError: If the store is away, or does not have the products.
            VectorIndexError: If an index is damaged, or of another encoder than the generation's.
            GenerationError: If identity, catalogue, attributes or calibration are missing or damaged.
        """
        identity = Identity.load(folder)
        check_encoder(folder, identity)
        files, dimension = StoredFiles.load(folder, identity), read_index_record(folder).dimension
        connection = Connection(store)
        collection, golden = (
            Collection(connection, name, files.attributes.schema, dimension)
            for name in (collection_of(identity.id), golden_of(identity.id))
        )
        calibration = Calibration.load(folder, sha256=identity.calibration)
        return cls(collection, golden, identity, files, Words.load(folder), calibration)

    @property
    def dimension(self) -> int:
        """D of the embeddings."""
        return self.collection.dimension

    def for_lone(self, threads: int) -> ClusterRetriever:  # noqa: ARG002 - the engine has its own
        """Return this one: the engine has threads of its own."""
        return self

    def products(self) -> NoReturn:
        """Raise: nobody here can look at every product.

        Raises:
            StoreError: Always.
        """
        raise StoreError(f"the products of generation {self.identity.id} are in a store: they cannot all be compared")

    def close(self) -> None:
        """Let go of the connection."""
        self.collection.connection.close()

    def spelled(self, knobs: Sequence[SearchKnobs], *, of_base: bool = False) -> list[SearchKnobs]:
        """Return knobs that say what their texts mean; the words of what came since are right too.

        Raises:
            StoreError: If the engine does not say what came.
        """
        words = self.words
        if of_base or words is None or not words.settings.spelling:
            return super().spelled(knobs)
        if any(knob.is_words and knob.ranking.spelling for knob in knobs):
            self._now()
        return [words.spelled(knob, self._changes.words, self._changes.forms) for knob in knobs]

    def retrieve(
        self,
        embeddings: NDArray[np.float32],
        knobs: Sequence[SearchKnobs],
        *,
        threads: int = 1,  # noqa: ARG002 - the engine has its own
        of_base: Sequence[bool] | None = None,
    ) -> Hits:
        """Return the products nearest to B embeddings, each by its own knobs; see ``Retriever.retrieve``.

        Args:
            embeddings: (B, D) float32, unit length.
            knobs: One a row.
            threads: Not looked at.
            of_base: (B,) whether a row is a golden query, which is asked of the export's products alone; None: none is.

        Raises:
            StoreAwayError: If the engine does not answer in time.
            StoreError: If it answers wrongly.
            VectorIndexError: If the embeddings have another width or are not of unit length.
            DataError: If a product that others shall be like is not there, a page is none that a store answers, or
                there are no probabilities.
        """
        floored = self.with_floors(knobs)
        return self.told(self._found(embeddings, floored, [False] * len(knobs) if of_base is None else list(of_base)))

    def _found(self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], golden: list[bool]) -> Hits:
        check_unit_rows(embeddings, name="queries", dimension=self.dimension)
        is_golden, is_ranked = np.array(golden, dtype=bool), np.array([self._is_ranked(knob) for knob in knobs])
        parts = []
        for of_export in (True, False):
            rows = np.flatnonzero((is_golden == of_export) & is_ranked)
            if len(rows):
                products, asked = self._export() if of_export else self._now(), [knobs[row] for row in rows]
                search = FusedSearch(products, self.words, StorePageSearch)
                parts.append((rows, self._searched(search, embeddings[rows], asked, 1)))
            rows = np.flatnonzero((is_golden == of_export) & ~is_ranked)
            if len(rows):
                asked = [knobs[row] for row in rows]
                with stage("dense"):  # filters, facets and all: the engine's work
                    hits = self._by_engine(embeddings[rows], asked, of_export)
                parts.append((rows, noted(hits, asked, self.words)))
        return merged(parts, knobs)

    def _is_ranked(self, knob: SearchKnobs) -> bool:
        """Return whether there is more to a query than its vector: words, or rules."""
        if knob.page is not None and knob.page.effect is not None:
            return True
        words = self.words
        is_asked = words is not None and (knob.ranking.explain or knob.ranking.mode_of(words.settings) != "dense")
        return is_asked and knob.is_words

    def _now(self) -> StoredProducts:
        """Return the products as the collection has them.

        Raises:
            StoreError: If it does not say.
        """
        snapshot, lexical, state = self._changes.latest(self._state)
        number = state.number if state.log else None
        return StoredProducts(self._changes, snapshot, lexical, number)

    def _export(self) -> StoredProducts:
        """Return the products of the export, of which the engine has those that golden queries find."""
        lexical = None if self.words is None else self.words.lexical
        return StoredProducts(self._changes, self._changes.of_export, lexical, None, golden=self.golden)

    def _by_engine(self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], of_export: bool) -> Hits:
        """Return the hits of queries that vectors alone answer."""
        state = None if of_export else self._state()
        collection = self.golden if of_export else self.collection
        answers: list[StorePage | None] = [None] * len(knobs)
        rows = [row for row, knob in enumerate(knobs) if knob.page is None]
        for row, answer in zip(rows, self._nearest(collection, embeddings, knobs, rows), strict=True):
            answers[row] = answer
        for row, knob in enumerate(knobs):
            if knob.page is not None:
                answers[row] = self._page(collection, embeddings[row], knob)
        said = {"sequence": state.number} if state is not None and state.log else {}
        return _hits(answers, knobs, said)

    def _state(self) -> StoredState:
        """Return how far the collection is.

        Raises:
            StoreError: If it is not the generation's, or not all of it.
        """
        state = self.collection.stated()
        if state is None or not state.complete or state.generation != self.identity.id:
            got = "none" if state is None else f"{state.loaded:,} products of generation {state.generation}"
            raise StoreError(
                f"{self.collection.name} in {self.collection.connection.store.address} must hold all of generation "
                f"{self.identity.id}, got {got}: trident cluster load {self.identity.id}"
            )
        return state

    def _nearest(
        self, collection: Collection, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], rows: list[int]
    ) -> list[StorePage]:
        """Return the answers of queries without a page."""
        if not rows:
            return []
        exact = collection is self.golden
        wanted = [Wanted(limit=knobs[row].k, ef=knobs[row].ef, exact=exact, vectors=True) for row in rows]
        found = nearest_each(collection, embeddings[rows], wanted)
        answers = []
        for row, hits in zip(rows, found, strict=True):
            scores = cosines(collection, embeddings[row], hits)
            lowest = knobs[row].min_score
            kept = np.lexsort((np.array([hit.row for hit in hits]), -scores))
            kept = kept if lowest is None else kept[scores[kept] >= np.float32(lowest)]
            answers.append(StorePage([hits[place] for place in kept.tolist()], scores[kept], "cluster"))
        return answers

    def _page(self, collection: Collection, embedding: NDArray[np.float32], knobs: SearchKnobs) -> StorePage:
        assert knobs.page is not None
        own_point, like = "", knobs.page.like
        if like is not None:
            own_point = point_id(like)
            found = by_id(collection, [own_point])
            if not found:
                raise DataError(
                    f"{LIKE} must be the id of a product of generation {self.identity.id}, got '{like[:60]}'"
                )
            (embedding,) = vectors_of(collection, found)
        return StorePages(collection).answer(StoreQuery(embedding, knobs, knobs.page, own_point))


def _hits(answers: Sequence[StorePage | None], knobs: Sequence[SearchKnobs], said: dict[str, Any]) -> Hits:
    """Return the answers to B queries as the server gives them."""
    shape = (len(knobs), max(knob.k for knob in knobs))
    ids, titles = np.full(shape, b"", dtype=np.object_), np.full(shape, b"", dtype=np.object_)
    scores = np.full(shape, EMPTY_SCORE, dtype=np.float32)
    counts = np.zeros((len(knobs), 1), dtype=np.int32)
    details = np.full((len(knobs), 1), NOTHING_TO_SAY, dtype=np.object_)
    ways = []
    for row, answer in enumerate(answers):
        assert answer is not None
        count = len(answer.hits)
        ids[row, :count] = [hit.product.encode() for hit in answer.hits]
        titles[row, :count] = [hit.title.encode() for hit in answer.hits]
        scores[row, :count], counts[row] = answer.scores, count
        ways.append(answer.way)
        if own := {**said, **answer.details}:
            details[row, 0] = json.dumps(own, separators=(",", ":"), ensure_ascii=False).encode()
    return Hits(ids, scores, titles, counts, details, tuple(ways))

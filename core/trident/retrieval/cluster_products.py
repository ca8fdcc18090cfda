"""Products of a store in the form in which words and merchandisers' rules rank them: rows, found by the engine.

The generation's files say what the rows are: ids, titles, attributes, vectors and words, mapped. What came since is
asked of the collection, whose points carry the number of their last operation, so that no server but the writer needs a
log. Filters are evaluated here for the words, and told to the engine for the vectors.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from trident.attributes.attributes import Attributes, Rows
from trident.attributes.filters import All
from trident.cluster.asking import Hit, Wanted, by_id, nearest_each, vectors_of
from trident.cluster.collection import Collection, StoredState
from trident.cluster.filters import Translated, both, negated, translate
from trident.cluster.points import GONE, NUMBER, PRODUCT, TITLE, point_id
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.texts import Texts
from trident.errors import GenerationError, StoreError
from trident.generation.generation import Identity
from trident.index.exact_search import Neighbours, cosines_of_pairs
from trident.index.files import read_index_files
from trident.lexical.index import LexicalIndex
from trident.live.changed import SnapshotAttributes
from trident.live.operations import Entry, Product, Tombstone
from trident.live.snapshot import Change, Growth, Snapshot, needs_vector
from trident.ranking.legs import Ranked
from trident.retrieval.live_retriever import FollowedWords, RetrieverRows, SnapshotProducts
from trident.retrieval.pages import PageQuery, PageSearch
from trident.retrieval.products import Found, Lexical, Way
from trident.retrieval.ruled import Ruled
from trident.retrieval.words import ProductLegs

KEPT = 10_000  # vectors of products that came, in memory: 15 MB of 384 numbers
NOTHING = -1  # row of a product that is none of a snapshot's
Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class StoredFiles:
    """What a server has of a generation whose products are in a store; rows of all are the same.

    Attributes:
        vectors: Gives those (R, D) of rows.
        attributes: Of N products.
        product_ids: Likewise.
        titles: Likewise.
    """

    vectors: Vectors
    attributes: Attributes
    product_ids: Texts
    titles: Texts

    def __post_init__(self) -> None:
        """Hold the parts against each other."""
        self.attributes.require_count(len(self.titles), "a store's generation")

    @classmethod
    def load(cls, folder: Path, identity: Identity) -> StoredFiles:
        """Map the files of a version folder.

        Raises:
            TridentError: If one is missing, damaged or of another generation.
        """
        stored = read_index_files(folder, encoder_fingerprint=identity.encoder_fingerprint)
        product_ids, titles = Catalogue.load(folder / CATALOGUE_FILE).texts
        if len(stored.label_of_row) != len(titles):
            raise GenerationError(
                f"index and catalogue of generation {identity.id} must have the same number of products, got "
                f"{len(stored.label_of_row):,} and {len(titles):,}: export again"
            )

        def vectors(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.asarray(stored.vectors[stored.label_of_row[rows]], dtype=np.float32)

        return cls(vectors, Attributes.load(folder), product_ids, titles)


class StoreChanges:
    """What came to a collection since its generation, as far as somebody looked.

    Args:
        collection: Of the products.
        files: Of the generation.
        lexical: Its words; None: it has none.
        begins: The number that the generation goes to.
    """

    def __init__(self, collection: Collection, files: StoredFiles, lexical: LexicalIndex | None, begins: int) -> None:
        """Begin with the generation alone."""
        self.collection, self.files, self._lexical, self._begins = collection, files, lexical, begins
        self._names = {key: name for name, key in collection.keys.items()}
        self._rows = RetrieverRows(files)
        self._lock = threading.Lock()
        self._kept: tuple[Any, dict[int, NDArray[np.float32]]] = (None, {})  # vectors by place
        self._begin(("", 0, ""))
        self.of_export = self._growth.snapshot

    @property
    def words(self) -> Mapping[str, int]:
        """How many of the titles that came have each word of letters."""
        return {} if self._tail is None else self._tail.words

    @property
    def forms(self) -> Container[str]:
        """The stems of these words."""
        return frozenset() if self._tail is None else self._tail.forms

    def latest(self, ask: Callable[[], StoredState]) -> tuple[Snapshot, Lexical | None, StoredState]:
        """Return the products as a collection has them, their words, and how far it is.

        Args:
            ask: Asks the collection how far it is.

        Raises:
            StoreError: If it does not answer.
        """
        with self._lock:  # an older state never comes behind a newer one
            state = ask()
            log = (state.log, state.epoch, state.branch)
            if log != self._log or state.number < self._growth.snapshot.number:  # it was loaded again
                self._begin(log)
            if state.number > self._growth.snapshot.number:
                self._take(state.number)
            snapshot = self._growth.snapshot
            return snapshot, None if self._tail is None else self._tail.at(snapshot), state

    def place(self, snapshot: Snapshot, product: str) -> int | None:
        """Return the place of a product in the tail of a snapshot; None: it has none."""
        place, wanted = self._growth.place(product), product.encode()
        if place is None or place >= len(snapshot.alive) or snapshot.places.ids[place] != wanted:
            found = snapshot.tail[snapshot.places.ids[snapshot.tail] == wanted]  # one that is not the latest
            return int(found[0]) if len(found) else None
        return place if snapshot.alive[place] else None

    def tail_vectors(self, snapshot: Snapshot, places: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors (P, D) of places, asked of the collection unless they were before; 0 of what is gone."""
        if self._kept[0] is not snapshot.places or len(self._kept[1]) > KEPT:
            self._kept = (snapshot.places, {})
        kept, ids, titles = self._kept[1], snapshot.places.ids, snapshot.places.titles
        missing = {ids[place]: place for place in places if place not in kept}
        later: dict[int, NDArray[np.float32]] = {}
        if missing:
            hits = by_id(self.collection, [point_id(each.decode()) for each in missing])
            for hit, vector in zip(hits, vectors_of(self.collection, hits), strict=True):
                place = missing[hit.product.encode()]  # whose title is another by now is not kept
                (kept if hit.title.encode() == titles[place] else later)[place] = vector
        nothing = np.zeros(self.collection.dimension, dtype=np.float32)
        return np.array([kept.get(place, later.get(place, nothing)) for place in places], dtype=np.float32)

    def _begin(self, log: tuple[str, int, str]) -> None:
        self._log = log
        self._growth = Growth(self._rows, self._begins)
        self._tail = None if self._lexical is None else FollowedWords(self._lexical)
        self._ahead: dict[str, int] = {}  # products that are here with a number beyond the snapshot's

    def _take(self, upto: int) -> None:
        """Take in what the collection says of operations up to a number; what comes beyond it may be there too."""
        ahead: dict[str, int] = {}
        for payloads in self.collection.changes(self._growth.snapshot.number):
            changes, last = [], 0
            for payload in payloads:
                product, entry = self._entry(payload)
                last = entry.number
                if last > upto:
                    ahead[product] = last
                if self._ahead.get(product) == last:
                    continue
                changes.append(Change(product, entry, 0 if needs_vector(self._rows, product, entry) else -1))
            self._growth.advance(changes, min(last, upto))
        self._growth.advance([], upto)
        self._ahead = ahead

    def _entry(self, payload: Mapping[str, Any]) -> tuple[str, Entry]:
        product, number = payload.get(PRODUCT), payload.get(NUMBER)
        if not isinstance(product, str) or not isinstance(number, int):
            raise StoreError(
                f"{self.collection.name} must hold products with their numbers, got a point without: somebody else "
                "wrote into it; load the generation again"
            )
        if payload.get(GONE):
            return product, Tombstone(number=number)
        attributes = {name: payload[key] for key, name in self._names.items() if key in payload}
        return product, Product(title=str(payload.get(TITLE, "")), attributes=attributes, number=number)


class StoredProducts(SnapshotProducts):
    """The products of a collection as one snapshot has them; see ``trident.retrieval.products.Products``.

    Args:
        changes: That the snapshot is of.
        snapshot: The products.
        lexical: Their words; None: there are none.
        number: That answers say; None: none.
        golden: The collection that golden queries are asked of, every product of it; None: the generation's.
    """

    def __init__(
        self,
        changes: StoreChanges,
        snapshot: Snapshot,
        lexical: Lexical | None,
        number: int | None,
        *,
        golden: Collection | None = None,
    ) -> None:
        """Keep the parts."""
        self.lexical, self.snapshot = lexical, snapshot
        self.attributes = SnapshotAttributes(changes.files.attributes, snapshot)
        self._changes, self._base, self._number = changes, changes.files, number
        self._collection, self._exact = golden or changes.collection, golden is not None
        self._which, self._barred = True, []

    _which: Translated  # what the engine is told of rows that are permitted
    _barred: list[str]  # points among these that are not

    @property
    def number(self) -> int | None:
        """The number of the collection; None: nothing was ever written, or golden queries are asked."""
        return self._number

    @property
    def ef(self) -> int:
        """The search effort of a query that names none."""
        return self._collection.connection.store.ef

    def within(self, node: All | None, excluded: NDArray[np.int64]) -> StoredProducts:
        """Return the same products, whose engine knows which rows are permitted where some are: by a filter and rules.

        Args:
            node: The filter; None: none.
            excluded: Rows that are no answer.
        """
        found = copy.copy(self)
        found._which = True if node is None else translate(node, self._collection.keys)
        ids, _ = self.texts(excluded)
        found._barred = [point_id(each.decode()) for each in ids.tolist()]
        return found

    def nearest(
        self,
        query: NDArray[np.float32],
        k: int,
        ef: int | None,
        permitted: Rows | None,
        *,
        threads: int = 1,  # noqa: ARG002 - the engine has its own
    ) -> Found:
        """Return the k products nearest to a query; ``permitted`` are the rows that the engine was told of."""
        which: Translated = True
        if permitted is not None:
            barred: Any = models.Filter(must=[models.HasIdCondition(has_id=list(self._barred))])
            which = both(self._which, negated(barred)) if self._barred else self._which
        wanted = Wanted(limit=k, which=which, ef=ef, exact=self._exact)
        (hits,) = nearest_each(self._collection, query, [wanted])
        return self._found(query[0], hits, permitted)

    def nearest_exactly(
        self,
        query: NDArray[np.float32],  # noqa: ARG002 - nobody is compared with it
        k: int,  # noqa: ARG002
        permitted: Rows | None,  # noqa: ARG002
    ) -> NoReturn:
        """Raise: nobody here compares every product.

        Raises:
            StoreError: Always.
        """
        raise StoreError(f"the products of {self._collection.name} are in a store: they cannot all be compared")

    def nearest_each(
        self,
        queries: NDArray[np.float32],
        ks: Sequence[int],
        efs: Sequence[int | None],
        *,
        threads: int = 1,  # noqa: ARG002 - the engine has its own
    ) -> tuple[Neighbours, tuple[Way, ...]]:
        """Return the products of each query, and its way; all are asked in one request."""
        wanted = [Wanted(limit=k, ef=ef, exact=self._exact) for k, ef in zip(ks, efs, strict=True)]
        each = nearest_each(self._collection, queries, wanted)
        found = [self._found(query, hits, None) for query, hits in zip(queries, each, strict=True)]
        rows = np.full((len(found), max(ks)), -1, dtype=np.int64)
        scores = np.full(rows.shape, np.nan, dtype=np.float32)
        for line, of in enumerate(found):
            rows[line, : len(of.rows)], scores[line, : len(of.rows)] = of.rows, of.scores
        counts = np.array([len(of.rows) for of in found], dtype=np.int32)
        return Neighbours(rows, scores, counts), tuple(of.way for of in found)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of rows: from the generation's files, or from the collection; 0 of what is gone."""
        snapshot, vectors = self.snapshot, np.zeros((len(rows), self._collection.dimension), dtype=np.float32)
        in_tail = rows >= snapshot.base_count
        vectors[~in_tail] = self._changes.files.vectors(rows[~in_tail])
        if in_tail.any():
            vectors[in_tail] = self._changes.tail_vectors(snapshot, (rows[in_tail] - snapshot.base_count).tolist())
        return vectors

    def _found(self, query: NDArray[np.float32], hits: Sequence[Hit], permitted: Rows | None) -> Found:
        """Return hits as rows of the snapshot, with cosines that are computed here: equal vectors have equal ones."""
        rows = np.array([self._row_of(hit) for hit in hits], dtype=np.int64)
        kept = rows >= 0
        if permitted is not None:
            kept &= np.isin(rows, permitted)
        rows = rows[kept]
        lines = np.arange(len(rows))
        scores = cosines_of_pairs(self.vectors(rows), lines, query[None], np.zeros_like(lines))
        order = np.lexsort((rows, -scores))
        return Found(rows[order], scores[order], "cluster")

    def _row_of(self, hit: Hit) -> int:
        snapshot = self.snapshot
        if hit.row < snapshot.base_count and not snapshot.gone[hit.row]:
            return hit.row
        place = self._changes.place(snapshot, hit.product)
        return NOTHING if place is None else snapshot.base_count + place


class StorePageSearch(PageSearch):
    """Answers queries over ``StoredProducts`` as over others; their engine is told which rows are permitted."""

    def _arranged(
        self, query: PageQuery, ruled: Ruled | None, depth: int, permitted: Rows | None, threads: int, without: str = ""
    ) -> Found | Ranked:
        assert isinstance(self._products, StoredProducts)
        node = None if query.page.filter is None else query.page.filter.without(without)
        told = self._products.within(node, np.zeros(0, dtype=np.int64) if ruled is None else ruled.excluded)
        ranker = None
        if self._ranker is not None and told.lexical is not None:
            ranker = self._ranker.over(ProductLegs(told, told.lexical))
        return PageSearch(told, ranker)._arranged(query, ruled, depth, permitted, threads)

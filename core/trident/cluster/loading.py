"""Loads a generation into its collection, goes on where it was killed, and proves what is there before it counts.

The point that says how far it is, is written behind each batch: what it names is there. Whoever was killed before that
writes a batch again, which changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, ValueColumn
from trident.attributes.evaluation import passing_rows
from trident.attributes.filters import All, AnyOf
from trident.cluster.asking import Hit, Wanted, by_id, nearest_each
from trident.cluster.collection import Collection, StoredState
from trident.cluster.filters import translate
from trident.cluster.points import StoredProduct, point_id, point_of
from trident.data.texts import Texts
from trident.errors import StoreError
from trident.index.exact_search import Neighbours, recall
from trident.index.index import Permitted, VectorIndex

BATCH = 500  # products a request
K = 10  # of the recall sample
QUERIES = 50
FILTERS = 6  # fields of which one value each is filtered by, in the sample
RECALL = 0.98  # lowest of the sample
SETTLE_POLL_S = 1.0

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class ProductFiles:
    """A generation's products as its files have them; rows of all are the same."""

    ids: Texts
    titles: Texts
    attributes: Attributes
    index: VectorIndex

    def __len__(self) -> int:
        """Return the number of products."""
        return len(self.ids)

    def stored(self, row: int, number: int) -> StoredProduct:
        """Return a product as it is to be kept."""
        names = [field.name for field in self.attributes.schema.fields]
        return StoredProduct(
            id=self.ids[row],
            title=self.titles[row],
            attributes=self.attributes.of_row(row, names),
            row=row,
            number=number,
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Recall at 10 of a collection, against comparing every product: of plain queries, and of filters."""

    plain: float
    filtered: dict[str, float]

    @property
    def lowest(self) -> float:
        """The lowest."""
        return min([self.plain, *self.filtered.values()])


def load(
    collection: Collection,
    products: ProductFiles,
    start: StoredState,
    *,
    batch: int = BATCH,
    progress: Progress = lambda _: None,
) -> Sample | None:
    """Load what is missing of a generation, and say that it is there when it was proven; None: it was said before.

    Args:
        collection: Of the generation.
        products: Its own.
        start: What an empty collection begins with: generation, and the number that it goes to.
        batch: Products a request.
        progress: Called with products that are there: first with those of an earlier call.

    Raises:
        StoreAwayError: If the engine goes away; another call goes on.
        StoreError: If what is there is not the generation, or its recall is too low.
    """
    state = collection.state() or start
    if state.generation != start.generation:
        raise StoreError(f"{collection.name} must hold generation {start.generation}, got {state.generation}")
    if state.complete:
        return None
    collection.create()
    write_products(collection, products, range(state.loaded), state, batch=batch, progress=progress)
    settle(collection)
    found = verify(collection, products)
    collection.write_state(replace(state, loaded=len(products), complete=True))
    return found


def write_products(
    collection: Collection,
    products: ProductFiles,
    there: range,
    state: StoredState,
    *,
    batch: int,
    progress: Progress,
) -> None:
    """Write the products behind those that are there."""
    progress(len(there))
    for begin in range(len(there), len(products), batch):
        rows = np.arange(begin, min(begin + batch, len(products)))
        write_rows(collection, products, rows, state.number)
        collection.write_state(replace(state, loaded=int(rows[-1]) + 1))
        progress(len(rows))


def write_rows(collection: Collection, products: ProductFiles, rows: NDArray[np.int64], number: int) -> None:
    """Write some of a generation's products."""
    vectors = products.index.vectors(rows)
    points = [
        point_of(products.stored(row, number), vector, collection.keys)
        for row, vector in zip(rows.tolist(), vectors, strict=True)
    ]
    collection.write(points, number)


def load_golden(collection: Collection, products: ProductFiles, rows: NDArray[np.int64], start: StoredState) -> None:
    """Load copies of the products that golden queries find: the nearest of all products are the nearest of these.

    The other collection changes with the catalogue; this one answers as the export did, and keeps what number that
    goes to.

    Args:
        collection: Of golden queries.
        products: The generation's.
        rows: The products, ascending.
        start: As of ``load``.
    """
    collection.create()
    for begin in range(0, len(rows), BATCH):
        write_rows(collection, products, rows[begin : begin + BATCH], 0)
    if (there := collection.count()) != len(rows):
        raise StoreError(
            f"{collection.name} must hold {len(rows):,} products, got {there:,}: remove it, and load again"
        )
    collection.write_state(replace(start, loaded=len(rows), complete=True))


def settle(collection: Collection) -> None:
    """Return when the engine has built what it searches by; it takes as long as it takes."""
    while not collection.is_settled():
        time.sleep(SETTLE_POLL_S)


def verify(collection: Collection, products: ProductFiles, *, seed: int = 0) -> Sample:
    """Hold a collection that nobody has written to since against its generation: its size, a sample, and recall.

    Raises:
        StoreError: If they differ, or recall is too low.
    """
    there = collection.count()
    if there != len(products):
        raise StoreError(
            f"{collection.name} must hold {len(products):,} products, got {there:,}: remove it, and load it again"
        )
    _compare_rows(collection, products, seed)
    found = sample_recall(collection, products, seed=seed)
    if found.lowest < RECALL:
        worst = min(found.filtered, key=found.filtered.__getitem__) if found.lowest < found.plain else "no filter"
        raise StoreError(
            f"recall@{K} of {collection.name} must be at least {RECALL}, got {found.lowest:.3f} with {worst}: raise "
            "store.ef or store.m and export again, or wait until the engine has built its graphs"
        )
    return found


def _compare_rows(collection: Collection, products: ProductFiles, seed: int) -> None:
    """Raise unless some products are there as the generation has them, attributes and vectors too."""
    rows = np.sort(np.random.default_rng(seed).choice(len(products), min(QUERIES, len(products)), replace=False))
    hits = {hit.row: hit for hit in by_id(collection, [point_id(products.ids[row]) for row in rows.tolist()])}
    for row, vector in zip(rows.tolist(), products.index.vectors(rows), strict=True):
        expected = point_of(products.stored(row, 0), vector, collection.keys)
        hit = hits.get(row)
        if hit is None or not _same(hit, expected.payload or {}, vector):
            raise StoreError(
                f"{collection.name} must hold product {products.ids[row]} as the generation has it, got "
                f"{'none' if hit is None else 'another'}: remove it, and load it again"
            )


def _same(hit: Hit, payload: dict[str, object], vector: NDArray[np.float32]) -> bool:
    own, other = dict(hit.payload), dict(payload)
    own.pop("number"), other.pop("number")
    return own == other and np.allclose(np.array(hit.vector, dtype=np.float32), vector, atol=1e-5)


def sample_recall(collection: Collection, products: ProductFiles, *, seed: int = 0) -> Sample:
    """Return recall at 10 between a collection and comparing every product, over queries between products."""
    draw = np.random.default_rng(seed)
    pairs = draw.integers(0, len(products), (2, QUERIES))
    queries = products.index.vectors(pairs[0]) + products.index.vectors(pairs[1])
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    queries = (queries / np.where(lengths == 0, 1, lengths)).astype(np.float32)[lengths[:, 0] > 0]
    filtered = {
        f"{node.field.name}={node.values[0]}": _recall(collection, products, queries[: QUERIES // 5], All((node,)))
        for node in _conditions(products.attributes)
    }
    return Sample(plain=_recall(collection, products, queries, None), filtered=filtered)


def _conditions(attributes: Attributes) -> list[AnyOf]:
    """Return a condition of each of some fields: its largest value of one, its smallest of the next."""
    fields = [field for field in attributes.schema.fields if field.type in ("keyword", "list", "boolean")][:FILTERS]
    conditions = []
    for place, field in enumerate(fields):
        column: ValueColumn = attributes.values_of(field.name)
        sizes = np.diff(column.starts)[: column.missing]
        if len(sizes):
            code = int(sizes.argmax() if place % 2 == 0 else sizes.argmin())
            conditions.append(AnyOf(field, (column.shown(code),)))
    return conditions


def _recall(collection: Collection, products: ProductFiles, queries: NDArray[np.float32], node: All | None) -> float:
    permitted = None if node is None else Permitted(passing_rows(node, products.attributes))
    exact = products.index.search_exactly(queries, K, permitted=permitted)
    which = True if node is None else translate(node, collection.keys)
    found = nearest_each(collection, queries, [Wanted(limit=K, which=which)] * len(queries))
    rows = np.full((len(queries), K), -1, dtype=np.int64)
    scores = np.full((len(queries), K), np.nan, dtype=np.float32)
    for line, hits in enumerate(found):
        rows[line, : len(hits)], scores[line, : len(hits)] = [h.row for h in hits], [h.score for h in hits]
    counts = np.array([len(hits) for hits in found], dtype=np.int32)
    return recall(Neighbours(rows, scores, counts), exact)

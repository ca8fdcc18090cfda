"""Nearest products and products in order, as the engine is asked for them, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from trident.cluster.collection import Collection
from trident.cluster.filters import Translated
from trident.cluster.points import PRODUCT, ROW, TITLE
from trident.errors import StoreError, VectorIndexError
from trident.index.exact_search import check_unit_rows, cosines_of_pairs

OVERSAMPLED = 2.0  # candidates by codes for each that is scored in full
TIED = 6  # digits: what an engine's way of summing makes different is equal
FURTHER = 6  # that are asked for beyond what is wanted: equal scores are ordered by row, not by the engine


@dataclass(frozen=True, eq=False)
class Hit:
    """A point that is a product: its id in the engine, its row, its score there, and what was asked for of it."""

    point: str
    row: int
    score: float
    payload: dict[str, Any]
    vector: Any = None

    @property
    def product(self) -> str:
        """The product's id."""
        return str(self.payload[PRODUCT])

    @property
    def title(self) -> str:
        """The product's title."""
        return str(self.payload[TITLE])


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How products are asked for.

    Attributes:
        limit: How many.
        which: What they must pass.
        ef: Candidates of the engine's graph; None: the store's.
        exact: Whether every product is compared.
        keys: Of the payload beside row, id and title; None: all.
        vectors: Whether vectors come with them.
        offset: Left out at the front.
    """

    limit: int
    which: Translated = True
    ef: int | None = None
    exact: bool = False
    keys: Sequence[str] | None = ()
    vectors: bool = False
    offset: int = 0


def nearest_each(collection: Collection, queries: NDArray[np.float32], wanted: Sequence[Wanted]) -> list[list[Hit]]:
    """Return the products nearest to B queries (B, D), best first, equal ones by row."""
    requests: list[models.QueryRequest] = []
    places: list[int] = []
    for place, (query, each) in enumerate(zip(queries, wanted, strict=True)):
        passing = collection.filter(each.which)
        if passing is None or not each.limit:
            continue
        places.append(place)
        requests.append(
            models.QueryRequest(
                query=query.tolist(),
                filter=passing,
                params=_parameters(collection, each),
                limit=each.limit + FURTHER,
                with_payload=_payload(each.keys),
                with_vector=each.vectors,
            )
        )
    found: list[list[Hit]] = [[] for _ in wanted]
    for place, points in zip(places, collection.query(requests) if requests else [], strict=True):
        hits = [_hit(collection, point) for point in points]
        hits.sort(key=lambda hit: (-round(hit.score, TIED), hit.row))
        found[place] = hits[: wanted[place].limit]
    return found


def in_order(
    collection: Collection, wanted: Wanted, key: str = ROW, direction: Literal["asc", "desc"] = "asc"
) -> list[Hit]:
    """Return products in the order of a number of theirs; what has none is not among them."""
    passing = collection.filter(wanted.which)
    if passing is None or not wanted.limit:
        return []
    (points,) = collection.query(
        [
            models.QueryRequest(
                query=models.OrderByQuery(order_by=models.OrderBy(key=key, direction=models.Direction(direction))),
                filter=passing,
                limit=wanted.limit,
                offset=wanted.offset,
                with_payload=_payload(wanted.keys),
                with_vector=wanted.vectors,
            )
        ]
    )
    return [_hit(collection, point) for point in points]


def by_id(collection: Collection, points: Sequence[str]) -> list[Hit]:
    """Return points with vectors, in the order of their ids; those that are no products any more are left out."""
    found = {str(each.id): each for each in collection.retrieve(points)} if points else {}
    there = [found[point] for point in points if point in found and ROW in (found[point].payload or {})]
    return [_hit(collection, each) for each in there]


def cosines(collection: Collection, query: NDArray[np.float32], hits: Sequence[Hit]) -> NDArray[np.float32]:
    """Return the cosines (H,) of a query (D,) and hits with vectors, computed here from the vectors in full.

    Raises:
        StoreError: If a vector is none of an encoder's.
    """
    if not hits:
        return np.zeros(0, dtype=np.float32)
    vectors = vectors_of(collection, hits)
    return cosines_of_pairs(vectors, np.arange(len(hits)), query[None], np.zeros(len(hits), dtype=np.int64))


def vectors_of(collection: Collection, hits: Sequence[Hit]) -> NDArray[np.float32]:
    """Return the vectors (H, D) of hits.

    Raises:
        StoreError: If one is none of an encoder's.
    """
    if not hits:
        return np.zeros((0, collection.dimension), dtype=np.float32)
    try:
        vectors = np.array([hit.vector for hit in hits], dtype=np.float32)
        check_unit_rows(vectors, name="its vectors", dimension=collection.dimension)
    except (ValueError, TypeError, VectorIndexError) as error:
        raise StoreError(f"{collection.name} must hold vectors of its encoder: {error}; load it again") from error
    return vectors


def _hit(collection: Collection, point: models.ScoredPoint | models.Record) -> Hit:
    payload = point.payload or {}
    row, score = payload.get(ROW), float(getattr(point, "score", 0.0) or 0.0)
    if not isinstance(row, int) or not isinstance(payload.get(PRODUCT), str) or not np.isfinite(score):
        raise StoreError(
            f"{collection.name} must answer with products, got point {point.id} without id or row: somebody else "
            "wrote into it; load the generation again"
        )
    return Hit(str(point.id), row, score, payload, getattr(point, "vector", None))


def _payload(keys: Sequence[str] | None) -> bool | list[str]:
    return True if keys is None else [PRODUCT, TITLE, ROW, *keys]


def _parameters(collection: Collection, wanted: Wanted) -> models.SearchParams:
    store = collection.connection.store
    codes = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLED) if store.in_8_bits else None
    acorn = models.AcornSearchParams(enable=True) if wanted.which is not True else None  # else ANDs lose neighbours
    ef = max(store.ef if wanted.ef is None else wanted.ef, wanted.limit + FURTHER)
    return models.SearchParams(hnsw_ef=ef, exact=wanted.exact, quantization=codes, acorn=acorn)

"""What a store does not answer as files do is refused or ordered otherwise; what is wrong in it is an error."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trident.cluster.collection import Collection, StoredState
from trident.cluster.loading import ProductFiles, load
from trident.cluster.points import NEW_ROWS, StoredProduct, gone_point, point_of
from trident.errors import DataError, StoreError
from trident.generation.generation import Identity
from trident.retrieval import cluster_pages
from trident.retrieval.cluster_products import StoredFiles
from trident.retrieval.cluster_retriever import ClusterRetriever
from trident.retrieval.options import SearchOptions, read_page
from trident.retrieval.requests import SearchKnobs
from trident.search.adapters import reason_of

IDENTITY = Identity(id="0123456789abcdef", serial=1, encoder_fingerprint="a" * 64)


def opened(collection: Collection, files: ProductFiles) -> ClusterRetriever:
    """Return a retriever whose golden queries are asked of the same collection."""
    known = StoredFiles(files.index.vectors, files.attributes, files.ids, files.titles)
    return ClusterRetriever(collection, collection, IDENTITY, known)


@pytest.fixture
def retriever(collection: Collection, files: ProductFiles) -> ClusterRetriever:
    load(collection, files, StoredState(generation=IDENTITY.id))
    return opened(collection, files)


def browsed(retriever: ClusterRetriever, k: int = 100, **options: Any) -> tuple[list[int], dict[str, Any]]:
    page = replace(read_page(SearchOptions(**options), retriever.attributes), browses=True)
    hits = retriever.retrieve(np.eye(1, 8, dtype=np.float32), [SearchKnobs(k=k, page=page)])
    return [int(each[1:]) for each in hits.product_ids[0, : hits.counts[0, 0]]], json.loads(hits.details[0, 0])


@pytest.mark.parametrize("direction", ["", "-"])
def test_many_products_are_ordered_by_one_number_with_what_has_none_behind(
    retriever: ClusterRetriever, files: ProductFiles, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    exact, _ = browsed(retriever, sort=f"{direction}price.usd")
    monkeypatch.setattr(cluster_pages, "SORTED_MOST", 10)
    column = files.attributes.numbers_of("price.usd")
    whole, details = browsed(retriever, sort=f"{direction}price.usd")
    assert details["total"] == 90
    assert [column.value(row) for row in whole] == [column.value(row) for row in exact]  # ties in another order
    sort, pages = f"{direction}price.usd", []
    for offset in range(0, 90, 25):
        pages += browsed(retriever, 25, sort=sort, offset=offset)[0]
    assert sorted(pages) == list(range(90))
    assert [column.value(row) for row in pages] == [column.value(row) for row in exact]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"sort": "brand"}, r"^a store sorts or groups at most 10 products without a query, got 90 that pass: narrow"),
        ({"sort": ["price.usd", "brand"]}, "^a store sorts or groups at most 10 products"),
        ({"group": "brand"}, "^a store sorts or groups at most 10 products"),
        ({"offset": 21}, r"^offset must be at most 20 where a store is browsed, got 21: narrow it by a filter$"),
        ({"facets": ["brand"]}, r"^facets\.brand has more than 2 different values among what passes, which a store"),
    ],
)
def test_what_a_store_would_have_to_fetch_is_refused(
    retriever: ClusterRetriever, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], line: str
) -> None:
    for name, most in (("SORTED_MOST", 10), ("BROWSED_MOST", 20), ("VALUES_MOST", 2)):
        monkeypatch.setattr(cluster_pages, name, most)
    with pytest.raises(DataError, match=line):
        browsed(retriever, **options)


def test_new_products_stand_behind_the_catalogue(retriever: ClusterRetriever, files: ProductFiles) -> None:
    vector = files.index.vectors(np.array([0]))[0]
    for number in (1, 2):
        new = StoredProduct(id=f"p{100 + number}", title="new", row=NEW_ROWS + number, number=number)
        retriever.collection.write([point_of(new, vector, retriever.collection.keys)], number)
    assert browsed(retriever)[0] == [*range(90), 101, 102]


def test_what_is_not_all_there_is_no_retriever(collection: Collection, files: ProductFiles) -> None:
    with pytest.raises(StoreError, match="does not have what was asked for products of trident-0123456789abcdef"):
        opened(collection, files)
    collection.create()
    with pytest.raises(StoreError, match=r"must hold all of generation 0123456789abcdef, got none: trident cluster"):
        opened(collection, files)
    collection.write_state(StoredState(generation="ffff456789abcdef", loaded=3))
    with pytest.raises(StoreError, match=r"got 3 products of generation ffff456789abcdef: trident cluster load"):
        opened(collection, files)


def test_points_of_others_are_an_error_and_no_answer(retriever: ClusterRetriever, files: ProductFiles) -> None:
    collection, query = retriever.collection, files.index.vectors(np.array([7]))
    ours = point_of(files.stored(7, 9), query[0] * 3, collection.keys)
    collection.write([ours], 9)
    with pytest.raises(StoreError, match=r"must hold vectors of its encoder: its vectors must have length 1, got 3"):
        retriever.retrieve(query, [SearchKnobs(k=1)])
    payload = {name: value for name, value in (ours.payload or {}).items() if name != "row"}
    collection.write([ours.model_copy(update={"vector": query[0].tolist(), "payload": payload})], 9)
    with pytest.raises(StoreError, match=r"must answer with products, got point .* without id or row: som") as error:
        retriever.retrieve(query, [SearchKnobs(k=1)])
    assert reason_of(error.value) == "internal"
    collection.write([gone_point("p7", 10, 8)], 10)
    assert retriever.retrieve(query, [SearchKnobs(k=1)]).product_ids[0, 0] != b"p7"


def test_nobody_compares_every_product_of_a_store(retriever: ClusterRetriever) -> None:
    with pytest.raises(StoreError, match=r"are in a store: they cannot all be compared$"):
        retriever.products()
    assert retriever.for_lone(2) is retriever
    assert (retriever.is_local, retriever.dimension) == (False, 8)

"""The products of a retriever over files in a store, so that one test asks both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from trident.cluster.collection import Collection, StoredState
from trident.cluster.connection import Connection
from trident.cluster.loading import ProductFiles, load, load_golden
from trident.cluster.store import Store, collection_of, golden_of
from trident.retrieval.cluster_products import StoredFiles
from trident.retrieval.cluster_retriever import ClusterRetriever
from trident.retrieval.retriever import Retriever


def files_of(local: Retriever) -> StoredFiles:
    """Return what a server over a store has of a generation's files."""
    return StoredFiles(local.index.vectors, local.attributes, local.product_ids, local.titles)


@contextmanager
def stored(local: Retriever, address: str) -> Iterator[ClusterRetriever]:
    """Yield a retriever of the same generation, whose products are in a store.

    Its golden queries are asked of every product.

    Args:
        local: Over files.
        address: Of the store; its collections are removed at the end.
    """
    connection = Connection(Store(address=address, timeout_s=60.0))
    names = (collection_of(local.identity.id), golden_of(local.identity.id))
    collection, golden = (Collection(connection, name, local.attributes.schema, local.dimension) for name in names)
    products = ProductFiles(local.product_ids, local.titles, local.attributes, local.index)
    start = StoredState(generation=local.identity.id)
    load_golden(golden, products, np.arange(len(products)), start)
    load(collection, products, start)
    try:
        yield ClusterRetriever(collection, golden, local.identity, files_of(local), local.words, local.calibration)
    finally:
        for name in names:
            connection.drop(name)
        connection.close()

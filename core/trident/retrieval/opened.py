"""What a version folder's products are searched by: its own files, or the store that it names."""

from __future__ import annotations

from pathlib import Path

from trident.cluster.store import STORE_FILE, Store
from trident.errors import MissingExtraError
from trident.retrieval.retriever import Retriever


def open_retriever(folder: Path, *, flat_threads: int = 1) -> Retriever:
    """Return the retriever of a version folder.

    Args:
        folder: Holds identity, index and catalogue.
        flat_threads: Of the flat search, where the products are searched here.

    Raises:
        TridentError: As ``Retriever.load`` and ``ClusterRetriever.open``, or if the store's client is not installed.
    """
    store = Store.load(folder)
    if store is None:
        return Retriever.load(folder, flat_threads=flat_threads)
    try:
        from trident.retrieval.cluster_retriever import ClusterRetriever
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{folder / STORE_FILE} names the store {store.address}, which needs {error.name}: run pip install "
            "'trident-search[cluster]'"
        ) from error
    return ClusterRetriever.open(folder, store)

"""Whether a store has what a generation needs of it, and what goes from it with a generation."""

from __future__ import annotations

from collections.abc import Iterable

from trident.attributes.schema import SCHEMA_FILE, Schema
from trident.cluster.collection import Collection, StoredState
from trident.cluster.connection import Connection
from trident.cluster.store import (
    LOAD_TIMEOUT_S,
    WRITE_TIMEOUT_S,
    Store,
    collection_of,
    golden_of,
    store_of,
)
from trident.errors import StoreError
from trident.generation.generation import Generation
from trident.index.files import read_index_record

MODEL = "retriever"  # whose version folder names the store


def collections_of(connection: Connection, generation: Generation) -> tuple[Collection, Collection]:
    """Return the collection of a generation's products, and that of its golden answers; nothing is asked.

    Raises:
        TridentError: If its schema or index is missing or damaged.
    """
    folder = generation.version_folder(MODEL)
    schema, dimension = Schema.load(folder / SCHEMA_FILE), read_index_record(folder).dimension
    products, golden = (
        Collection(connection, name, schema, dimension)
        for name in (collection_of(generation.id), golden_of(generation.id))
    )
    return products, golden


def stored_state(generation: Generation, store: Store) -> StoredState | None:
    """Return how far a generation's collection is; None: it was not begun.

    Raises:
        StoreAwayError: If the store is away.
    """
    connection = Connection(store.patient(WRITE_TIMEOUT_S))
    try:
        return collections_of(connection, generation)[0].state()
    finally:
        connection.close()


def require_loaded(generation: Generation) -> None:
    """Raise if a generation's products are to be in a store, and are not, all of them.

    Raises:
        StoreError: Naming both numbers.
    """
    store = store_of(generation)
    if store is None:
        return
    state = stored_state(generation, store)
    if state is None or not state.complete:
        raise StoreError(
            f"{store.address} must have the {generation.manifest.products:,} products of generation {generation.id}, "
            f"got {0 if state is None else state.loaded:,}: trident cluster load {generation.id}"
        )


def require_written(candidate: Generation, serving: Generation) -> None:
    """Raise if the collection of one generation goes to a lower number of the log than that of another.

    Raises:
        StoreError: With both numbers.
    """
    numbers = []
    for generation in (candidate, serving):
        store = store_of(generation)
        state = None if store is None else stored_state(generation, store)
        numbers.append(0 if state is None else state.number)
    if numbers[0] < numbers[1]:
        raise StoreError(
            f"generation {candidate.id} must go to number {numbers[1]:,} in its store, as {serving.id} does, got "
            f"{numbers[0]:,}: promote the server that writes first"
        )


def remove_collections(generations: Iterable[Generation]) -> list[str]:
    """Remove the collections of generations that are to be removed, by their own names, and return these.

    They go before the generation does: a generation without a collection can be removed again, a collection without a
    generation would be nobody's.

    Raises:
        StoreAwayError: If a store is away; the generations must stay then.
    """
    removed = []
    for generation in generations:
        store = store_of(generation)
        if store is None:
            continue
        connection = Connection(store.patient(LOAD_TIMEOUT_S))
        try:
            there = set(connection.collections())
            for name in (collection_of(generation.id), golden_of(generation.id)):
                if name in there:
                    connection.drop(name)
                    removed.append(name)
        finally:
            connection.close()
    return removed

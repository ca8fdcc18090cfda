"""A generation's files into its store, and an overview of what is in the stores of a folder of generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.cluster.collection import StoredState
from trident.cluster.connection import Connection
from trident.cluster.loaded import MODEL, collections_of, stored_state
from trident.cluster.loading import BATCH, ProductFiles, Progress, Sample, load, load_golden
from trident.cluster.store import LOAD_TIMEOUT_S, Store, generation_of, store_of
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.errors import GenerationError, StoreError
from trident.generation.generation import Generation, Identity, list_generations
from trident.generation.golden import GoldenAnswer
from trident.generation.own_encoder import own_encoder
from trident.index.index import VectorIndex
from trident.lexical.files import RECORD_FILE, load_lexical
from trident.lexical.spelling import Spelling, load_known
from trident.ranking.legs import DEEPEST
from trident.ranking.settings import RANKING_FILE, RankingSettings


def load_generation(
    generation: Generation, *, batch: int = BATCH, again: bool = False, progress: Progress = lambda _: None
) -> Sample | None:
    """Load a generation into its store; see ``trident.cluster.loading.load``.

    Args:
        generation: Whose files are read; its store is named in them.
        batch: Products a request.
        again: Whether what is there is removed before: who searches it meanwhile is refused.
        progress: Called with products that are there.

    Raises:
        GenerationError: If it names no store, or a file is missing or damaged.
        StoreError: As ``load``.
    """
    store = store_of(generation)
    if store is None:
        raise GenerationError(
            f"generation {generation.id} is searched in its own files: export it with --store ADDRESS to load it"
        )
    generation.check_files()
    products = files_of(generation)
    connection = Connection(store.patient(LOAD_TIMEOUT_S))
    try:
        collection, golden = collections_of(connection, generation)
        if again:
            for name in (collection.name, golden.name):
                connection.drop(name)
        state = collection.state()
        if state is not None and state.complete:
            return None
        start = beginning(generation)
        load_golden(golden, products, golden_rows(generation, products), start)
        return load(collection, products, start, batch=batch, progress=progress)
    finally:
        connection.close()


def golden_rows(generation: Generation, products: ProductFiles) -> NDArray[np.int64]:
    """Return the rows that golden queries are answered from, ascending.

    They are their answers, and as many of the nearest as the ranking of any of them looks at.

    Raises:
        TridentError: If a file is missing or damaged.
    """
    answers, folder = generation.golden(), generation.version_folder(MODEL)
    rows = np.array(list(products.ids.rows_of(each for answer in answers for each in answer.product_ids).values()))
    if not answers or not (folder / RANKING_FILE).is_file():
        return np.sort(rows.astype(np.int64))
    settings, reranked = RankingSettings.load(folder), Identity.load(folder).rerank
    depth = settings.depth if reranked <= settings.depth else DEEPEST
    found = products.index.search_exactly(_embedded(generation, folder, answers), min(depth, len(products)))
    every: NDArray[np.int64] = np.unique(np.concatenate([rows.astype(np.int64), found.rows.ravel()]))
    return every


def _embedded(generation: Generation, folder: Path, answers: list[GoldenAnswer]) -> NDArray[np.float32]:
    """Return the vectors (Q, D) of golden queries, as they were typed and as they are spelt."""
    texts = dict.fromkeys(answer.query for answer in answers)
    if (folder / RECORD_FILE).is_file():
        spelling = Spelling(load_lexical(folder, folder / CATALOGUE_FILE), load_known(folder))
        texts |= dict.fromkeys(found for text in list(texts) if (found := spelling.corrected(text)) is not None)
    tokenizer, encoder = own_encoder(generation)
    vectors: NDArray[np.float32] = encoder.embed_ids(tokenizer.token_ids(list(texts), "query"), pad_id=tokenizer.pad_id)
    return vectors


def files_of(generation: Generation) -> ProductFiles:
    """Return a generation's products as its files have them.

    Raises:
        TridentError: If one is missing or damaged.
    """
    folder = generation.version_folder(MODEL)
    ids, titles = Catalogue.load(folder / CATALOGUE_FILE).texts
    attributes = Attributes.load(folder)
    attributes.require_count(len(ids), f"generation {generation.id}")
    return ProductFiles(ids, titles, attributes, VectorIndex.load(folder))


def beginning(generation: Generation) -> StoredState:
    """Return the state of a collection that nothing was loaded into: the number that the generation goes to."""
    holds = generation.holds
    return StoredState(generation=generation.id, number=0 if holds is None else holds.number)


def overview(generations: Path) -> list[dict[str, Any]]:
    """Return a row for each generation of a folder that names a store, and each collection there of no generation here.

    Raises:
        GenerationError: If a manifest is damaged.
    """
    rows: list[dict[str, Any]] = []
    stores: dict[str, Store] = {}
    ids = set()
    for generation in list_generations(generations):
        store = store_of(generation)
        if store is None:
            continue
        stores[store.address] = store
        ids.add(generation.id)
        row = {"generation": generation.id, "store": store.address, "products": generation.manifest.products}
        try:
            state = stored_state(generation, store)
            words = "not loaded" if state is None else "complete" if state.complete else "loading"
        except StoreError as error:
            state, words = None, f"unknown: {error}"
        loaded, number = (None, None) if state is None else (state.loaded, state.number)
        rows.append({**row, "state": words, "loaded": loaded, "number": number})
    nothing = {"products": None, "loaded": None, "number": None}
    for address, store in stores.items():
        strange = {"store": address, "state": "of no generation here", **nothing}
        rows += [{"generation": name, **strange} for name in _names(store) if generation_of(name) not in ids]
    return rows


def _names(store: Store) -> list[str]:
    try:
        connection = Connection(store)
    except StoreError:  # said beside its generations
        return []
    try:
        return sorted(name for name in connection.collections() if generation_of(name) is not None)
    finally:
        connection.close()

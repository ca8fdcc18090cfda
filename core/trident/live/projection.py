"""The log in a store: a projection up to a number that the collection keeps, made again from the log where it lacks.

The log is the truth. A group is durable there before the engine hears of it; whoever writes next brings the engine up
first. Each point carries the number of its last operation, and an older one that comes late changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from qdrant_client import models

from trident.cluster.collection import Collection, StoredState
from trident.cluster.connection import Connection
from trident.cluster.points import NEW_ROWS, StoredProduct, gone_point, point_of
from trident.cluster.store import WRITE_TIMEOUT_S, collection_of, store_of
from trident.errors import AwayError, LogError, StoreError, TridentError, UnknownOutcomeError
from trident.generation.generation import Generation, generation_by_id
from trident.generation.holds import Position
from trident.generation.state import ServingFolder
from trident.index.index import VectorIndex
from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.live.base import CatalogueBase, embedder
from trident.live.known import CATALOGUE_MODEL
from trident.live.operations import Entry, Product, decode_record
from trident.live.preparing import require_fitting, vector_file
from trident.live.snapshot import needs_vector
from trident.live.vectors import Embed, VectorFile

STEP = 256  # operations between two looks at progress

logger = logging.getLogger(__name__)


class Projection:
    """Writes a log into the collection of one generation.

    Args:
        folder: Of the live catalogue.
        generation: Whose products are in a store.
        base: Of the generation.
        vectors: Beside its index; closed with this, and where this cannot be made.
        embed: Its encoder.

    Raises:
        StoreError: If the store is away, or does not have the generation.
        LogError: If what is there is of another log.
    """

    def __init__(
        self, folder: LiveFolder, generation: Generation, base: CatalogueBase, vectors: VectorFile, embed: Embed
    ) -> None:
        """Look where the collection is."""
        store = store_of(generation)
        assert store is not None, f"generation {generation.id} is in its own files"
        self._folder, self._generation, self._base = folder, generation, base
        self._vectors, self._embed = vectors, embed
        with ExitStack() as undo:
            undo.callback(vectors.close)
            self._index = VectorIndex.load(generation.version_folder(CATALOGUE_MODEL))
            connection = Connection(store.patient(WRITE_TIMEOUT_S))
            undo.callback(connection.close)
            name, dimension = collection_of(generation.id), self._index.dimension
            self.collection = Collection(connection, name, base.schema, dimension)
            self._state()
            undo.pop_all()

    def catch_up(self, upto: int, progress: Callable[[int], None] = lambda _: None) -> None:
        """Write what the collection lacks up to a number of the log.

        Args:
            upto: The number; durable.
            progress: Called with numbers taken in since the last call.

        Raises:
            StoreError: If the store does not take it; what it took stays.
            LogError: If the log does not reach back to where the collection is.
        """
        state = self._state()
        cursor = LogCursor(self._folder.log, state.number)
        while state.number < upto:
            end = min(upto, state.number + STEP)
            latest: dict[str, Entry] = {}
            for number, record in cursor.advance(end):
                product, entry = decode_record(number, record)
                latest[product] = entry
            self._write(latest, end)
            progress(end - state.number)
            state = self._state()

    def require(self, number: int) -> None:
        """Return when the collection is at the log's last number, before anything is appended to the log.

        Raises:
            AwayError: If the store is away, or is not what it should be: nothing is written then.
            LogError: If it is of another log, or goes beyond this one.
        """
        try:
            state = self._state()
            if state.number > number:
                raise LogError(
                    f"nothing was written: {self.collection.name} goes to number {state.number:,}, and the log ends at "
                    f"{number:,}: restore the log, or load the generation again (trident cluster load --again)"
                )
            self.catch_up(number)
        except StoreError as error:
            raise AwayError(f"nothing was written: {error}") from error

    def take(self, changes: Mapping[str, Entry], number: int) -> None:
        """Write a group that is in the log.

        Args:
            changes: The last state of each product in it.
            number: Its last.

        Raises:
            UnknownOutcomeError: If the store does not take it: it is written, and seen when the store is back.
        """
        try:
            self._write(changes, number)
        except StoreError as error:
            raise UnknownOutcomeError(
                f"operations up to number {number:,} are in the log, and the store has not said that it has them "
                f"({error}): searches see them when it is back, all of them"
            ) from error

    def close(self) -> None:
        """Let go of the store and of the vectors' file."""
        self.collection.connection.close()
        self._vectors.close()

    def _state(self) -> StoredState:
        """Return where the collection is.

        Raises:
            StoreError: If it does not have the generation.
            LogError: If it is of another log, or of a part of it that a restored backup has left.
        """
        state, generation = self.collection.stated(), self._generation.id
        where = f"{self.collection.name} in {self.collection.connection.store.address}"
        if state is None or not state.complete or state.generation != generation:
            raise StoreError(f"{where} must hold all of generation {generation}: trident cluster load {generation}")
        lineage = self._folder.lineage()
        if lineage is None or not state.log:
            after = self._folder.start_of(self._generation.holds, generation)
            if state.number != after:
                raise LogError(
                    f"{where} must go to number {after:,} as generation {generation}, got {state.number:,}: load it "
                    "again (trident cluster load --again)"
                )
            return state if lineage is None else self._said(state, state.number)
        fault = lineage.fault(Position(log=state.log, epoch=state.epoch, branch=state.branch, number=state.number))
        if fault is not None:
            raise LogError(f"{where} is not of the log {self._folder.log}: {fault}; trident cluster load --again")
        return state

    def _said(self, state: StoredState, number: int) -> StoredState:
        """Write and return that the collection goes to a number of this log."""
        lineage = self._folder.lineage()
        assert lineage is not None
        place = lineage.position(number)
        state = replace(state, number=number, log=place.log, epoch=place.epoch, branch=place.branch)
        self.collection.write_state(state)
        return state

    def _write(self, changes: Mapping[str, Entry], number: int) -> None:
        """Write the last state of products, and behind it the number that the collection goes to then."""
        points = [
            gone_point(product, entry.number, self.collection.dimension)
            for product, entry in changes.items()
            if not isinstance(entry, Product)
        ]
        there = [(product, entry) for product, entry in changes.items() if isinstance(entry, Product)]
        self.collection.write([*points, *self._points(there, number)], number)
        self._said(StoredState(generation=self._generation.id, loaded=len(self._base), complete=True), number)

    def _points(self, there: list[tuple[str, Product]], number: int) -> Iterator[models.PointStruct]:
        own = [needs_vector(self._base, product, entry) for product, entry in there]
        titles = [entry.title for (_, entry), is_own in zip(there, own, strict=True) if is_own]
        places = iter(self._vectors.rows(titles, self._embed, number).tolist() if titles else [])
        for (product, entry), is_own in zip(there, own, strict=True):
            row = self._base.row(product)
            if is_own:
                vector = self._vectors.vectors[next(places)]
            else:
                (vector,) = self._index.vectors(np.array([row]))
            stored = StoredProduct(
                id=product,
                title=entry.title,
                attributes=entry.attributes,
                row=NEW_ROWS + entry.number if row is None else row,
                number=entry.number,
            )
            yield point_of(stored, vector, self.collection.keys)


@contextmanager
def projecting(folder: LiveFolder, generation: Generation) -> Iterator[Projection]:
    """Yield what writes a log into the collection of a generation.

    Raises:
        StoreError: If the store is away, or does not have the generation.
        LogError: If the log does not fit the generation, or the collection is of another one.
    """
    base = CatalogueBase.of(generation)
    after = folder.start_of(generation.holds, generation.id)
    require_fitting(folder, base.schema, generation.id, after, folder.last())
    embed = embedder(generation)
    projection = Projection(folder, generation, base, vector_file(folder, generation), embed)
    try:
        yield projection
    finally:
        projection.close()


def project(folder: LiveFolder, generation: Generation, *, report: Callable[[str], None]) -> int:
    """Bring the collection of a generation up to the log's end, and return that number.

    Raises:
        StoreError: As ``Projection.catch_up``.
        LogError: As ``projecting``.
    """
    with projecting(folder, generation) as projection:
        last = folder.last()
        projection.catch_up(last)
        report(f"{projection.collection.name} is at number {last:,}")
    return last


def opened_before(folder: LiveFolder, generations: Path, serving: ServingFolder) -> Projection | None:
    """Return what writes into the collection of the generation that served before; None: there is none to write to.

    Readers of a fleet are promoted one after the other: until then they see what is written there.
    """
    state = serving.state()
    if state is None or state.previous is None:
        return None
    try:
        generation = generation_by_id(generations, state.previous)
        if store_of(generation) is None:
            return None
        base = CatalogueBase.of(generation)
        after = folder.start_of(generation.holds, generation.id)
        require_fitting(folder, base.schema, generation.id, after, folder.last())
        embed = embedder(generation)
        return Projection(folder, generation, base, vector_file(folder, generation), embed)
    except TridentError as error:  # it was pruned, or never loaded
        logger.info("nothing is written for generation %s any more: %s", state.previous, error)
        return None

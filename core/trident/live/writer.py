"""The one that writes: takes operations from a queue, and commits them in groups.

For each group: decide, embed what needs a vector, write the vectors, append to the log, sync, publish the number,
answer. A full disk fails before a record is durable. Small requests go first; large ones are cut into slices, so that
nobody waits for the embedding of a thousand titles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trident.attributes.schema import Schema
from trident.cluster.store import store_of
from trident.errors import AwayError, FullError, LiveError, StoppedError, StoreError, TridentError
from trident.generation.generation import Generation, generation_by_id
from trident.generation.state import ServingFolder
from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.live.base import CatalogueBase, embedder
from trident.live.operations import (
    BATCH,
    Action,
    Entry,
    Operation,
    Product,
    decode_record,
    encode_record,
    read_operations,
)
from trident.live.preparing import vector_file
from trident.live.snapshot import needs_vector
from trident.live.state import Outcome, State
from trident.live.vectors import Embed, VectorFile

if TYPE_CHECKING:
    from trident.live.projection import Projection

SMALL = 10  # operations of a request that goes before large ones
SLICE_TITLES = 8  # of large requests that are embedded in a group: about 10 ms
QUEUED = 50_000  # operations that wait at most
HOLD_WAIT_S = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """What became of a request.

    Attributes:
        number: The last number of what it wrote, or of the catalogue where it wrote nothing.
        outcomes: One an operation.
    """

    number: int
    outcomes: list[Outcome]


Answer = Callable[[Written | TridentError], None]


@dataclass
class Request:
    """Operations that wait, and what became of those that do not any more."""

    operations: list[Operation]
    answer: Answer
    schema: Schema  # that they were checked against
    outcomes: list[Outcome] = field(default_factory=list)
    number: int = 0
    began: float = field(default_factory=time.monotonic)  # seconds

    @property
    def left(self) -> list[Operation]:
        """Those that wait."""
        return self.operations[len(self.outcomes) :]


@dataclass
class Serving:
    """The generation that serves: what operations are decided over, and who embeds."""

    generation: Generation
    after: int  # the number that it goes to
    base: CatalogueBase
    state: State
    vectors: VectorFile
    embed: Embed
    projection: Projection | None = None  # where its products are in a store
    before: Projection | None = None  # of the generation that served before: readers that were not promoted yet

    def close(self) -> None:
        """Let go of files and stores."""
        self.vectors.close()
        for projection in (self.projection, self.before):
            if projection is not None:
                projection.close()


class Writer:
    """Writes to the live catalogue of a folder; the caller holds its lock.

    Args:
        folder: Recovered and replayed.
        generations: The folder of generations.
        serving: Says which of them serves.

    Raises:
        LiveError: If the log does not fit the generation that serves.
        TridentError: If a part of that is missing or damaged.
    """

    def __init__(self, folder: LiveFolder, generations: Path, serving: ServingFolder) -> None:
        """Open the log, and take in what is in it."""
        self.folder, self._generations, self._serving_folder = folder, generations, serving
        self._published = Published(folder.published)
        self.log = Log.open(folder.log, promised=self._published.promised())
        self._published.write(self.log.last, self.log.lineage)
        self._condition = threading.Condition()
        self._small: deque[Request] = deque()
        self._large: deque[Request] = deque()
        self._stopping = False
        self.counts: Counter[str] = Counter()
        self.answered: Counter[Action] = Counter()  # operations
        self.seconds: Counter[Action] = Counter()  # that they took until they were answered
        try:
            self._now = self._take_over(self._wanted())
        except BaseException:
            self.log.close()
            raise
        self._thread = threading.Thread(target=self._run, name="catalogue writer", daemon=True)
        self._thread.start()

    def submit(self, text: bytes | str, answer: Answer) -> None:
        """Queue a request; ``answer`` is called once, from the writer's thread.

        Args:
            text: Operations, a JSON list.
            answer: Called with what became of them.

        Raises:
            DataError: If an operation breaks a rule.
            FullError: If too many wait.
        """
        schema = self._now.base.schema
        operations = read_operations(text, schema)
        request = Request(operations, answer, schema)
        with self._condition:
            waiting = sum(len(each.left) for each in (*self._small, *self._large))
            if waiting + len(operations) > QUEUED:
                raise FullError(f"nothing was written: {waiting:,} operations wait already: send them more slowly")
            (self._small if len(operations) <= SMALL else self._large).append(request)
            self._condition.notify()

    def stats(self) -> dict[str, object]:
        """Return what ``trident catalogue stats`` shows.

        Raises:
            LiveError: If no generation serves.
        """
        state, position = self._now.state, self.log.lineage.position(self.log.last)
        return {
            "number": self.log.last,
            "log": position.log,
            "epoch": position.epoch,
            "generation": self._wanted(),  # the writer goes over to it with the next operation
            "holds": self._now.after,
            "made_at": self._now.generation.manifest.created_at,
            "changed": len(state.changes),
            "tail": self._now.vectors.used,
            "tail_limit": self._now.vectors.capacity,
            "base": len(self._now.base),
            "attributes": {field.name: field.type for field in self._now.base.schema.fields},
            "log_bytes": self.folder.log_bytes(),
            "stopped": self.log.stopped,
        }

    def close(self) -> None:
        """End the thread after the group that it is at; who waits is told."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        for request in (*self._small, *self._large):
            request.answer(self._told(request, StoppedError("nothing was written: the server stops; try again")))
        self.log.close()
        self._now.close()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._small or self._large or self._stopping)
                if self._stopping:
                    return
                group = self._group()
            self._commit(group)

    def _group(self) -> list[tuple[Request, list[Operation]]]:
        """Return the requests of the next group, each with those of its operations that come into it."""
        group = []
        while self._small:
            request = self._small.popleft()
            group.append((request, request.left))
        if self._large:
            request, taken, titles = self._large[0], [], 0
            for operation in request.left[:BATCH]:
                titles += operation.action == "upsert" and self._now.vectors.missing([operation.title]) > 0
                if titles > SLICE_TITLES:
                    break
                taken.append(operation)
            group.append((request, taken))
            if len(taken) == len(request.left):
                self._large.popleft()
        return group

    def _commit(self, group: list[tuple[Request, list[Operation]]]) -> None:
        try:
            with self.folder.held(shared=True, wait_s=HOLD_WAIT_S):
                self._follow_serving()
                self._check_again(group)
                if self._now.projection is not None:
                    self._now.projection.require(self.log.last)
                outcomes = self._write([operation for _, operations in group for operation in operations])
        except FullError as error:
            self._each_alone(group, error)  # only who brings new titles needs room in the tail
            return
        except LiveError as error:
            self._refuse(group, error)
            return
        except StoreError as error:  # of a generation that was just promoted
            self._refuse(group, AwayError(f"nothing was written: {error}"))
            return
        except TridentError as error:
            self._each_alone(group, error)  # one of them cannot be embedded
            return
        except Exception as error:
            logger.exception("a group could not be written")
            self._refuse(
                group, LiveError(f"the catalogue failed ({type(error).__name__}: {error}); see the server's log")
            )
            return
        start = 0
        for request, operations in group:
            request.outcomes += outcomes[start : start + len(operations)]
            request.number = self.log.last
            start += len(operations)
            if not request.left:
                self._measure(request)
                request.answer(Written(request.number, request.outcomes))

    def _each_alone(self, group: list[tuple[Request, list[Operation]]], error: TridentError) -> None:
        """Commit the requests of a group of which nothing was appended one by one; refuse one that is alone."""
        if len(group) == 1:
            self._refuse(group, error)
            return
        for each in group:
            self._commit([each])

    def _measure(self, request: Request) -> None:
        taken_s = time.monotonic() - request.began
        for operation in request.operations:
            self.answered[operation.action] += 1
            self.seconds[operation.action] += taken_s  # type: ignore[assignment]  # a sum of floats

    def _check_again(self, group: list[tuple[Request, list[Operation]]]) -> None:
        """Hold what was checked before a promotion against the schema that serves now.

        Raises:
            DataError: For the first that does not fit.
        """
        schema = self._now.base.schema
        for request, _ in group:
            if request.schema is not schema:
                for operation in request.left:
                    schema.check(operation.attributes, f"{operation.action} of '{operation.id}' after a promotion")
                request.schema = schema

    def _write(self, operations: list[Operation]) -> list[Outcome]:
        """Write operations as one group, and return what became of each."""
        state, outcomes = self._now.state, []
        pending: dict[str, Entry] = {}
        written: list[tuple[str, Entry]] = []
        for operation in operations:
            decision = state.decide(operation, pending)
            outcomes.append(decision.outcome)
            if decision.entry is not None:
                entry = replace(decision.entry, number=state.number + len(written) + 1, at=int(time.time()))
                pending[operation.id] = entry
                written.append((operation.id, entry))
        if written:
            base = self._now.base
            titles = [
                entry.title
                for product, entry in written
                if isinstance(entry, Product) and needs_vector(base, product, entry)
            ]
            vectors = self._now.vectors
            vectors.rows(titles, self._now.embed, state.number + 1, limit=vectors.capacity)
            last = self.log.append([encode_record(product, entry) for product, entry in written])
            for product, entry in written:
                state.apply(entry.number, product, entry)
            assert state.number == last
            self._published.write(last, self.log.lineage)
            self._project(pending, last)
        self.counts.update(outcomes)
        return outcomes

    def _project(self, changes: Mapping[str, Entry], last: int) -> None:
        """Write a group that is in the log into the stores that hold products."""
        if self._now.projection is not None:
            self._now.projection.take(changes, last)
        if self._now.before is not None:
            try:
                self._now.before.catch_up(last)
            except TridentError as error:  # who still reads there is behind until the next group
                logger.warning("%s is behind: %s", self._now.before.collection.name, error)

    def _refuse(self, group: list[tuple[Request, list[Operation]]], error: TridentError) -> None:
        self.counts["failed"] += sum(len(operations) for _, operations in group)
        for request, _ in group:
            if self._large and self._large[0] is request:
                self._large.popleft()
            request.answer(self._told(request, error))

    def _told(self, request: Request, error: TridentError) -> TridentError:
        done = len(request.outcomes)
        if not done:
            return error
        return type(error)(f"after {done:,} of {len(request.operations):,} operations were written: {error}")

    def _wanted(self) -> str:
        state = self._serving_folder.state()
        if state is None:
            raise LiveError(f"no generation serves in {self._serving_folder.path}: start trident serve --live")
        return state.serving

    def _follow_serving(self) -> None:
        """Go over to the generation that serves, where that is another one than before."""
        wanted = self._wanted()
        if wanted != self._now.generation.id:
            before, self._now = self._now, self._take_over(wanted)
            before.close()

    def _take_over(self, wanted: str) -> Serving:
        generation = generation_by_id(self._generations, wanted)
        after = self.folder.start_of(generation.holds, generation.id)
        base = CatalogueBase.of(generation)
        state = State(base, after)
        for number, record in LogCursor(self.folder.log, after).advance(self.log.last):
            state.apply(number, *decode_record(number, record))
        with ExitStack() as undo:  # whoever cannot take over leaves no file open: each write tries again
            vectors = vector_file(self.folder, generation)
            undo.callback(vectors.close)
            now = Serving(generation, after, base, state, vectors, embedder(generation))
            if store_of(generation) is not None:
                from trident.live.projection import Projection, opened_before  # a store's client is an extra

                own = vector_file(self.folder, generation)
                now.projection = Projection(self.folder, generation, base, own, now.embed)
                undo.callback(now.projection.close)
                now.before = opened_before(self.folder, self._generations, self._serving_folder)
            undo.pop_all()
        return now

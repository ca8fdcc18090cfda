"""What the clients can do with a live catalogue, beside searching it."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from trident_client.answers import Answer
from trident_client.async_transport import AsyncTransport
from trident_client.errors import ClientError, InvalidRequestError, UnexpectedAnswerError
from trident_client.requests import Request
from trident_client.transport import Transport

CATALOGUE, ACTION, OPERATIONS, RESULT = "catalogue", "action", "operations", "result"
WRITE_KEY_HEADER = "trident-write-key"
WRITE_KEY_VARIABLE = "TRIDENT_WRITE_KEY"
BATCH = 1000  # operations a request
PLACES = re.compile(r"\boperation (\d+)(?: of \d+|( and \d+))")  # in a refusal: among those of its request


@dataclass(frozen=True)
class Written:
    """What became of operations.

    Attributes:
        number: Whoever searches from now on sees the catalogue at this number or a later one.
        done: How many were written.
        stale: Ids of those whose product has a later version; left alone.
        touched: Ids of those that were touched after ``untouched_after``; left alone.
        unknown: Ids of updates and deletes of products that are not there.
    """

    number: int
    done: int
    stale: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass
class Outcomes:
    """What became of the operations that were sent so far."""

    answered: int = 0
    number: int = 0
    done: int = 0
    left: dict[str, list[str]] = field(default_factory=lambda: {"stale": [], "touched": [], "unknown": []})

    def take(self, sent: Sequence[Mapping[str, Any]], answer: Answer) -> None:
        """Take in the answer to a request.

        Raises:
            UnexpectedAnswerError: If it does not keep the contract.
        """
        found = read_answer(answer)
        outcomes = found.get("outcomes")
        if not isinstance(outcomes, list) or len(outcomes) != len(sent):
            raise UnexpectedAnswerError(f"{len(sent)} operations must have as many outcomes, got {outcomes!r:.60}")
        number = found.get("number")
        if not isinstance(number, int):
            raise UnexpectedAnswerError(f"the catalogue's number must be one, got {number!r:.60}")
        for outcome in outcomes:
            if outcome not in ("done", *self.left):
                raise UnexpectedAnswerError(f"an outcome must be done, {', '.join(self.left)}, got {outcome!r:.60}")
        self.number, self.answered = number, self.answered + len(sent)
        for operation, outcome in zip(sent, outcomes, strict=True):
            if outcome == "done":
                self.done += 1
            else:
                self.left[outcome].append(operation["id"])

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have an error of the client say what became of the operations before."""
        try:
            yield
        except ClientError as error:
            tell_answered(error, self.answered, self.done, self.number)
            raise

    def written(self) -> Written:
        """Return it."""
        return Written(self.number, self.done, *(tuple(self.left[name]) for name in ("stale", "touched", "unknown")))


def tell_answered(error: Exception, answered: int, done: int, number: int) -> None:
    """Have the error of a later request say what became of the operations before, and its place in all of them.

    Args:
        error: Whose message is changed; it stays the one that it is.
        answered: Operations before; 0: it stays as it is.
        done: Of these.
        number: The catalogue's, after them.
    """
    if answered:
        said = PLACES.sub(lambda found: f"operation {_moved(found[1] + (found[2] or ''), answered)}", str(error), 1)
        before = f"{answered:,} operations were answered, {done:,} of them done, the catalogue at number {number:,}"
        error.args = (f"after {before}: {said}",)


def catalogue_request(
    action: str, write_key: str | None, operations: Sequence[Mapping[str, Any]] | None = None
) -> Request:
    """Return a request to the catalogue.

    Args:
        action: ``write``, ``stats`` or ``take-over``.
        write_key: None: that of the variable.
        operations: To be written.

    Raises:
        InvalidRequestError: If an operation is not made of JSON's types, or the key is no line of ASCII.
    """
    key = write_key or os.environ.get(WRITE_KEY_VARIABLE)
    if key and not (key.isascii() and key.isprintable()):
        raise InvalidRequestError("write_key must be a line of ASCII, got something else (not shown here)")
    inputs = {ACTION: _one(action)}
    if operations is not None:
        try:
            inputs[OPERATIONS] = _one(json.dumps(operations, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(f"operations must be made of JSON's types and finite numbers: {error}") from error
    headers = {WRITE_KEY_HEADER: key} if key else {}
    return Request(CATALOGUE, [action], inputs, (RESULT,), uuid.uuid4().hex, headers, may_repeat=operations is None)


def read_answer(answer: Answer) -> dict[str, Any]:
    """Return what the catalogue answered.

    Raises:
        UnexpectedAnswerError: If it is no JSON object.
    """
    try:
        found: Any = json.loads(answer.tensors[RESULT].reshape(-1)[0])
    except (ValueError, IndexError) as error:
        raise UnexpectedAnswerError(f"the catalogue must answer a JSON object, got none ({error})") from error
    if not isinstance(found, dict):
        raise UnexpectedAnswerError(f"the catalogue must answer a JSON object, got {found!r:.60}")
    return found


class CatalogueCalls:
    """Operations on a live catalogue; they need its write key."""

    _transport: Transport
    _write_key: str | None

    def with_write_key(self, write_key: str) -> CatalogueCalls:
        """Return the operations with another key, over the same connections."""
        other = CatalogueCalls()
        other._transport, other._write_key = self._transport, write_key
        return other

    def upsert(self, products: Iterable[Mapping[str, Any]]) -> Written:
        """Put products into the catalogue, and return when they are durable and found.

        Args:
            products: Each with ``id`` and ``title``, and as needed ``attributes`` (all of them), ``version`` (a whole
                number of your own: a lower one than the product has is stale) and ``untouched_after`` (a number of the
                catalogue: a product that was touched later is left alone). Sent a thousand at a time.

        Raises:
            InvalidRequestError: If a product breaks a rule; nothing of its thousand was written. This and every other
                error says how many operations were answered before, where there were any: those stay as they are.
            WriteKeyError: If the key is missing or another's.
            CatalogueFullError: If there is no room.
            CatalogueStoppedError: If nothing is written for now.
            CatalogueFollowsError: If the server follows another one.
            UnknownOutcomeError: If whether they were written is not known.
            ClientError: As for ``search``; after RequestTimeoutError whether they were written is not known either.
        """
        return self.write(_upserts(products))

    def update(self, changes: Iterable[Mapping[str, Any]]) -> Written:
        """Change attributes of products, such as price and stock; as ``upsert``.

        Args:
            changes: Each with ``id`` and the ``attributes`` that change, None for what becomes missing; ``version`` and
                ``untouched_after`` as for ``upsert``.
        """
        return self.write(_updates(changes))

    def delete(self, ids: Iterable[str | Mapping[str, Any]]) -> Written:
        """Delete products; as ``upsert``.

        Args:
            ids: Each an id, or a mapping with ``id``, ``version`` and ``untouched_after``.
        """
        return self.write(_deletes(ids))

    def write(self, operations: Iterable[Mapping[str, Any]]) -> Written:
        """Send operations of any kind, each with ``op``; as ``upsert``."""
        outcomes = Outcomes()
        with outcomes.told():
            for part in _parts(operations):
                outcomes.take(part, self._transport.infer(catalogue_request("write", self._write_key, part)))
        return outcomes.written()

    def catalogue_stats(self) -> dict[str, Any]:
        """Return the catalogue's number, its log, and how full its tail is; as ``upsert``."""
        return read_answer(self._transport.infer(catalogue_request("stats", self._write_key)))

    def take_over(self) -> dict[str, Any]:
        """Have a server that follows write from now on, and return the catalogue's number; as ``upsert``.

        Raises:
            CatalogueFollowsError: If the server that it follows still writes.
        """
        return read_answer(self._transport.infer(catalogue_request("take-over", self._write_key)))


class AsyncCatalogueCalls:
    """``CatalogueCalls`` to be awaited; arguments and errors are the same."""

    _transport: AsyncTransport
    _write_key: str | None

    def with_write_key(self, write_key: str) -> AsyncCatalogueCalls:
        """Return the operations with another key, over the same connections; nothing is to be awaited."""
        other = AsyncCatalogueCalls()
        other._transport, other._write_key = self._transport, write_key
        return other

    async def upsert(self, products: Iterable[Mapping[str, Any]]) -> Written:
        """Put products into the catalogue, and return when they are durable and found."""
        return await self.write(_upserts(products))

    async def update(self, changes: Iterable[Mapping[str, Any]]) -> Written:
        """Change attributes of products, such as price and stock."""
        return await self.write(_updates(changes))

    async def delete(self, ids: Iterable[str | Mapping[str, Any]]) -> Written:
        """Delete products."""
        return await self.write(_deletes(ids))

    async def write(self, operations: Iterable[Mapping[str, Any]]) -> Written:
        """Send operations of any kind, each with ``op``."""
        outcomes = Outcomes()
        with outcomes.told():
            for part in _parts(operations):
                outcomes.take(part, await self._transport.infer(catalogue_request("write", self._write_key, part)))
        return outcomes.written()

    async def catalogue_stats(self) -> dict[str, Any]:
        """Return the catalogue's number, its log, and how full its tail is."""
        return read_answer(await self._transport.infer(catalogue_request("stats", self._write_key)))

    async def take_over(self) -> dict[str, Any]:
        """Have a server that follows write from now on, and return the catalogue's number."""
        return read_answer(await self._transport.infer(catalogue_request("take-over", self._write_key)))


def _upserts(products: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return _operations("upsert", products)


def _updates(changes: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return _operations("update", changes)


def _deletes(ids: Iterable[str | Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    if isinstance(ids, str | Mapping):  # else its letters, or its keys, were ids
        raise InvalidRequestError(f"delete takes a list of ids, got {ids!r:.60}")
    return _operations("delete", ({"id": each} if isinstance(each, str) else each for each in ids))


def _operations(action: str, rows: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield operations of one kind.

    Raises:
        InvalidRequestError: If one is no mapping.
    """
    if isinstance(rows, Mapping):
        raise InvalidRequestError(f"{action} takes a list of mappings, got one: {dict(rows)!r:.60}")
    for place, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidRequestError(f"{action} takes mappings with an id, got {row!r:.60} in place {place}")
        yield {**row, "op": action}


def _moved(places: str, answered: int) -> str:
    """Return a text whose numbers are places in a request, with places among all operations instead."""
    return re.sub(r"\d+", lambda number: f"{answered + int(number[0]):,}", places)


def _one(text: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.array([text.encode()], dtype=np.object_)


def _parts(operations: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rows = iter(operations)
    while part := list(islice(rows, BATCH)):
        yield part

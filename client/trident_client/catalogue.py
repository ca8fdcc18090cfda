"""What ``SearchClient`` can do with a live catalogue, beside searching it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from trident_client.errors import InvalidRequestError, UnexpectedAnswerError
from trident_client.transport import Transport

CATALOGUE, ACTION, OPERATIONS, RESULT = "catalogue", "action", "operations", "result"
WRITE_KEY_HEADER = "trident-write-key"
WRITE_KEY_VARIABLE = "TRIDENT_WRITE_KEY"
BATCH = 1000  # operations a request


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


class CatalogueCalls:
    """Operations on a live catalogue; they need its write key."""

    _transport: Transport
    _write_key: str | None

    def upsert(self, products: Iterable[Mapping[str, Any]]) -> Written:
        """Put products into the catalogue, and return when they are durable and found.

        Args:
            products: Each with ``id`` and ``title``, and as needed ``attributes`` (all of them), ``version`` (a whole
                number of your own: a lower one than the product has is stale) and ``untouched_after`` (a number of the
                catalogue: a product that was touched later is left alone). Sent a thousand at a time.

        Raises:
            InvalidRequestError: If a product breaks a rule; nothing of its thousand was written.
            WriteKeyError: If the key is missing or another's.
            CatalogueFullError: If there is no room.
            CatalogueStoppedError: If nothing is written for now.
            UnknownOutcomeError: If whether they were written is not known.
            ClientError: As for ``search``; after RequestTimeoutError whether they were written is not known either.
        """
        return self.write({**product, "op": "upsert"} for product in products)

    def update(self, changes: Iterable[Mapping[str, Any]]) -> Written:
        """Change attributes of products, such as price and stock; as ``upsert``.

        Args:
            changes: Each with ``id`` and the ``attributes`` that change, None for what becomes missing; ``version`` and
                ``untouched_after`` as for ``upsert``.
        """
        return self.write({**change, "op": "update"} for change in changes)

    def delete(self, ids: Iterable[str | Mapping[str, Any]]) -> Written:
        """Delete products; as ``upsert``.

        Args:
            ids: Each an id, or a mapping with ``id``, ``version`` and ``untouched_after``.
        """
        rows = ({"id": each} if isinstance(each, str) else each for each in ids)
        return self.write({**row, "op": "delete"} for row in rows)

    def write(self, operations: Iterable[Mapping[str, Any]]) -> Written:
        """Send operations of any kind, each with ``op``; as ``upsert``."""
        number, done = 0, 0
        left: dict[str, list[str]] = {"stale": [], "touched": [], "unknown": []}
        for part in _parts(operations):
            answer = self._ask_catalogue("write", part)
            outcomes = answer.get("outcomes")
            if not isinstance(outcomes, list) or len(outcomes) != len(part):
                raise UnexpectedAnswerError(f"{len(part)} operations must have as many outcomes, got {outcomes!r:.60}")
            number = int(answer["number"])
            for operation, outcome in zip(part, outcomes, strict=True):
                if outcome == "done":
                    done += 1
                else:
                    left[outcome].append(operation["id"])
        return Written(number, done, *(tuple(left[name]) for name in ("stale", "touched", "unknown")))

    def catalogue_stats(self) -> dict[str, Any]:
        """Return the catalogue's number, its log, and how full its tail is; as ``upsert``."""
        return self._ask_catalogue("stats")

    def _ask_catalogue(self, action: str, operations: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        key = self._write_key or os.environ.get(WRITE_KEY_VARIABLE)
        inputs = {ACTION: _one(action)}
        if operations is not None:
            try:
                inputs[OPERATIONS] = _one(json.dumps(operations, allow_nan=False))
            except (TypeError, ValueError) as error:
                raise InvalidRequestError(
                    f"operations must be made of JSON's types and finite numbers: {error}"
                ) from error
        headers = {WRITE_KEY_HEADER: key} if key else None
        tensors = self._transport.infer(CATALOGUE, inputs, (RESULT,), headers=headers).tensors
        answer: dict[str, Any] = json.loads(tensors[RESULT].reshape(-1)[0])
        return answer


def _one(text: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.array([text.encode()], dtype=np.object_)


def _parts(operations: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rows = iter(operations)
    while part := list(islice(rows, BATCH)):
        yield part

"""The one way to the engine: what goes wrong there becomes one line of ours, within the store's time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from trident.cluster.store import KEY, Store, generation_of
from trident.errors import StoreAwayError, StoreError

OLDEST = (1, 16)  # that takes a condition with an upsert; an older one would leave it out without a word
MISSING = 404
BUSY = (429, 500, 502, 503, 504)  # statuses of an engine that may answer the next time
SHOWN = 200  # characters of what an engine says

T = TypeVar("T")


class Connection:
    """An engine at an address.

    Args:
        store: Names it.

    Raises:
        StoreAwayError: If it does not answer.
        StoreError: If it is too old, or no such engine.
    """

    def __init__(self, store: Store) -> None:
        """Ask it who it is."""
        self.store = store
        self._client = QdrantClient(
            url=store.address,
            api_key=os.environ.get(KEY),
            timeout=store.timeout_s,  # type: ignore[arg-type]  # its HTTP takes fractions
            check_compatibility=False,
        )
        try:
            self._require_version()
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, call: Callable[[QdrantClient], T]) -> T:
        """Return what the engine answers.

        Args:
            what: Is asked for, for errors.
            call: Asks.

        Raises:
            StoreAwayError: If it does not answer in time, or cannot now.
            StoreError: If it refuses.
        """
        where = f"the store {self.store.address}"
        try:
            return call(self._client)
        except ResponseHandlingException as error:
            if isinstance(error.source, httpx.HTTPError):
                raise StoreAwayError(f"{where} is away: {what} was not answered ({_why(error.source)})") from error
            raise StoreError(f"{where} answered what was asked for {what} in no form that is known") from error
        except ResourceExhaustedResponse as error:
            raise StoreAwayError(f"{where} takes no more now: {what} was refused ({error})") from error
        except UnexpectedResponse as error:
            said = error.content.decode(errors="replace")[:SHOWN]
            if error.status_code == MISSING:
                raise StoreError(f"{where} does not have what was asked for {what}: {said}") from error
            if error.status_code in BUSY:
                raise StoreAwayError(f"{where} cannot answer {what} now: {error.status_code} {said}") from error
            raise StoreError(f"{where} refuses {what}: {error.status_code} {said}") from error

    def _require_version(self) -> None:
        version = self.ask("its version", lambda client: client.info().version)
        found = re.match(r"(\d+)\.(\d+)", version)
        if found is None or (int(found[1]), int(found[2])) < OLDEST:
            raise StoreError(
                f"the store {self.store.address} must be Qdrant {OLDEST[0]}.{OLDEST[1]} or later, got {version}: an "
                "older one writes late records over new ones"
            )

    def has(self, collection: str) -> bool:
        """Return whether there is a collection, by its own name."""
        return collection in self.collections()

    def collections(self) -> list[str]:
        """Return the names of all collections; aliases are not among them."""
        found = self.ask("its collections", lambda client: client.get_collections())
        return [each.name for each in found.collections]

    def drop(self, collection: str) -> None:
        """Remove a collection of ours, whatever is in it; one that is not there is gone already.

        Raises:
            StoreError: If the name is none of ours: an alias, or somebody else's.
        """
        if generation_of(collection) is None:
            raise StoreError(f"the store {self.store.address}: '{collection}' is no collection of a generation")
        if self.has(collection):  # an alias of the name is none
            self.ask(f"dropping {collection}", lambda client: client.delete_collection(collection))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _why(error: Any) -> str:
    return str(error) or type(error).__name__

"""Retrievers over files and over a store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stored import stored

from trident.retrieval.retriever import Retriever


@pytest.fixture(scope="module", params=["local", "cluster"])
def retriever(request: pytest.FixtureRequest, local: Retriever) -> Iterator[Retriever]:
    """Return the products of a module's ``local`` in files, and the same in a store: its tests are of both."""
    if request.param == "local":
        yield local
        return
    with stored(local, request.getfixturevalue("stand_in").address) as made:
        yield made

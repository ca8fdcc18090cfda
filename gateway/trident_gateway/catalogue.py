"""Operations on a live catalogue, for whoever sends its write key; the gateway has none of its own."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import FastAPI, Header

from trident_client import AsyncSearchClient, WriteKeyError
from trident_gateway.forms import OperationsForm, WrittenAnswer

Key = Annotated[str | None, Header(alias="Trident-Write-Key", description="Of the catalogue")]


def add_catalogue(app: FastAPI, client: AsyncSearchClient) -> None:
    """Add the catalogue's addresses to the gateway."""

    @app.post("/catalogue", response_model=WrittenAnswer)
    async def write(form: OperationsForm, trident_write_key: Key = None) -> dict[str, Any]:
        """Write operations, and answer when they are durable and found."""
        operations = [each.model_dump(exclude_unset=True) for each in form.operations]
        return dataclasses.asdict(await client.with_write_key(given(trident_write_key)).write(operations))

    @app.get("/catalogue")
    async def stats(trident_write_key: Key = None) -> dict[str, Any]:
        """Say the catalogue's number, its log, and how full its tail is."""
        return await client.with_write_key(given(trident_write_key)).catalogue_stats()


def given(key: str | None) -> str:
    """Return the key that was sent; never one that this process has in its environment.

    Raises:
        WriteKeyError: If none was.
    """
    if not key:
        raise WriteKeyError("the catalogue's write key is needed, as Trident-Write-Key: KEY; got none")
    return key

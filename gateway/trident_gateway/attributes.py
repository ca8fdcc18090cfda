"""Which attributes the catalogue behind a server has: asked of the server, which names them when it refuses one."""

from __future__ import annotations

import asyncio
import re
import time

from trident_client import AsyncSearchClient, InvalidRequestError
from trident_gateway.forms import Attribute

NO_ATTRIBUTE = "no attribute has this name"
KNOWN = re.compile(r"has no field '[^']*'.*: it has (.+)$")  # held to the server's words by tests/triton/test_page.py
PROBE = "a"  # a query; what it finds does not matter
MOST = 40  # attributes that are looked at


class Remembered:
    """The attributes behind a server, asked for once in a while: it takes two searches for each.

    Args:
        client: Of the server.
        for_s: That while; a promotion may bring other attributes.
    """

    def __init__(self, client: AsyncSearchClient, for_s: float = 30.0) -> None:
        """Ask nothing yet."""
        self._client = client
        self._for_s = for_s
        self._found: list[Attribute] = []
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def get(self) -> list[Attribute]:
        """Return them.

        Raises:
            ClientError: If the server cannot be asked; the next call asks again.
        """
        async with self._asking:
            if time.monotonic() >= self._until:
                self._found = await attributes_of(self._client)
                self._until = time.monotonic() + self._for_s
            return self._found


async def attributes_of(client: AsyncSearchClient) -> list[Attribute]:
    """Return the attributes that searches can be told of; none where the server has none, or takes none.

    Raises:
        ClientError: If the server cannot be asked.
    """
    try:
        await client.search(PROBE, k=1, fields=[NO_ATTRIBUTE])
    except InvalidRequestError as error:
        named = KNOWN.search(str(error))
    else:
        named = None
    names = named[1].split(", ")[:MOST] if named and named[1] != "none" else []
    found = await asyncio.gather(*(_attribute(client, name) for name in names))
    return [each for each in found if each is not None]


async def _attribute(client: AsyncSearchClient, name: str) -> Attribute | None:
    """Return an attribute, None where a name with a comma in it was cut into what is none."""
    if not await _is_taken(client, {"fields": [name]}):
        return None
    return Attribute(name=name, counted=await _is_taken(client, {"facets": [name]}))


async def _is_taken(client: AsyncSearchClient, options: dict[str, list[str]]) -> bool:
    try:
        await client.search(PROBE, k=1, options=options)
    except InvalidRequestError:
        return False
    return True

"""One search of the gateway's client, and how long the server took for it."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from starlette.responses import Response

from trident_client import AsyncSearchClient
from trident_gateway.forms import SearchForm


async def timed_search(client: AsyncSearchClient, form: SearchForm, response: Response) -> dict[str, Any]:
    """Return the answer to a search, and put the server's time (ms) into the header ``Server-Timing``.

    Raises:
        ClientError: As ``AsyncSearchClient.search``.
    """
    start = time.perf_counter()
    found = await client.search(form.query, **form.model_dump(exclude={"query"}))
    response.headers["Server-Timing"] = f"triton;dur={(time.perf_counter() - start) * 1000:.2f}"
    return dataclasses.asdict(found)

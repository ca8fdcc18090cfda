"""One search of the gateway's client, and how long the server took for it."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.responses import Response

from trident_client import AsyncSearchClient, SearchResult, UnexpectedAnswerError
from trident_gateway.forms import SearchForm

OF_SEARCH = tuple(name for name in SearchForm.model_fields if name != "query")


async def timed_search(client: AsyncSearchClient, form: SearchForm) -> Response:
    """Return the answer to a search as JSON, with the server's time (ms) in the header ``Server-Timing``.

    It is written here, not by FastAPI, which would check and copy every field of what the client has checked: half of
    the gateway's time (docs/log/client.md). A test holds it to the form that OpenAPI shows.

    Raises:
        UnexpectedAnswerError: If a number is none.
        ClientError: As ``AsyncSearchClient.search``.
    """
    start = time.perf_counter()
    found = await client.search(form.query, **{name: getattr(form, name) for name in OF_SEARCH})
    took_ms = (time.perf_counter() - start) * 1000
    try:
        text = json.dumps(written(found), separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise UnexpectedAnswerError(f"an answer must be made of finite numbers, got another one ({error})") from error
    return Response(
        text,
        media_type="application/json",
        headers={"Server-Timing": f"triton;dur={took_ms:.2f}"},
    )


def written(found: SearchResult) -> dict[str, Any]:
    """Return a result as the form ``Found``; the mappings in it are the result's own."""
    return {
        "id": found.id,
        "query": found.query,
        "generation": found.generation,
        "model_version": found.model_version,
        "hits": [
            {
                "product_id": hit.product_id,
                "score": hit.score,
                "title": hit.title,
                "attributes": hit.attributes,
                "probability": hit.probability,
                "explain": hit.explain,
            }
            for hit in found.hits
        ],
        "details": found.details,
    }

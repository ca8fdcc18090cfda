"""What the frameworks' classes share: one server's two clients, and what a search may be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trident_client.async_client import AsyncSearchClient
from trident_client.behaviour import Behaviour
from trident_client.client import SearchClient
from trident_client.errors import InvalidRequestError
from trident_client.results import Hit
from trident_client.tls import Tls

MAY_BE_TOLD = (  # of a search, beside its k
    *("ef", "min_score", "filter", "sort", "group", "offset", "options"),
    *("mode", "rules", "spelling", "min_probability", "rerank", "rerank_budget_ms"),
)


class Clients:
    """A client of each kind for one server: frameworks call both ways, and asyncio is never waited for in a thread.

    Args:
        url: As ``SearchClient`` takes it, and so are the others.
        timeout_s: Seconds to wait for an answer.
        tls: For a server that speaks TLS.
        behaviour: Repeats, headers, a token.
        write_key: Of a live catalogue.

    Raises:
        InvalidRequestError: If an argument breaks a rule.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        tls: Tls | None = None,
        behaviour: Behaviour | None = None,
        write_key: str | None = None,
    ) -> None:
        """Prepare both; nothing is sent yet."""
        self.at_once = SearchClient(url, timeout_s=timeout_s, tls=tls, behaviour=behaviour, write_key=write_key)
        self.awaited = AsyncSearchClient(url, timeout_s=timeout_s, tls=tls, behaviour=behaviour, write_key=write_key)

    def close(self) -> None:
        """Close the connections of what was called at once."""
        self.at_once.close()

    async def aclose(self) -> None:
        """Close all connections."""
        self.at_once.close()
        await self.awaited.close()


def told(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a search is told beside its query and k.

    Raises:
        InvalidRequestError: If it cannot be told one of them.
    """
    unknown = given.keys() - set(MAY_BE_TOLD)
    if unknown:
        raise InvalidRequestError(f"a search may be told {', '.join(MAY_BE_TOLD)}, got {min(unknown)!r}")
    return dict(given)


def metadata(hit: Hit) -> dict[str, Any]:
    """Return the attributes that a hit has; what is missing has no key."""
    return {name: value for name, value in hit.attributes.items() if value is not None}


def relevance(cosine: float) -> float:
    """Return a cosine, -1 to 1, as a number of 0 to 1 in the same order, which frameworks compare thresholds with."""
    return min(max((1 + cosine) / 2, 0.0), 1.0)

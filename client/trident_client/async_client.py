"""``AsyncSearchClient``: ``SearchClient`` for asyncio, the same methods to be awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident_client.address import Protocol
from trident_client.answers import read_embeddings, read_results, read_suggestions
from trident_client.async_transport import AsyncTransport
from trident_client.behaviour import Behaviour
from trident_client.catalogue import AsyncCatalogueCalls
from trident_client.connection import Connecting
from trident_client.requests import SEARCH, Mode, Wanted, embed_requests, search_requests, suggest_request
from trident_client.results import SearchResult, ServerInfo, SuggestResult
from trident_client.tensors import K_DEFAULT
from trident_client.tls import Tls


class AsyncSearchClient(AsyncCatalogueCalls):
    """A client of one server for asyncio; use it as an async context manager, or await ``close``.

    Any number of tasks may use it at once; another event loop, or a process that was forked, opens connections of its
    own. The arguments are those of ``SearchClient``; ``concurrency`` changes nothing: tasks open what they need.

    Raises:
        InvalidRequestError: If an argument breaks a rule.
    """

    def __init__(  # noqa: PLR0913 - what a client can be told, by name
        self,
        url: str = "127.0.0.1:8001",
        *,
        protocol: Protocol | None = None,
        timeout_s: float = 10.0,
        concurrency: int = 1,
        tls: Tls | None = None,
        behaviour: Behaviour | None = None,
        write_key: str | None = None,
    ) -> None:
        """Prepare the client; nothing is sent yet."""
        connecting = Connecting(
            protocol=protocol, timeout_s=timeout_s, concurrency=concurrency, tls=tls, behaviour=behaviour
        )
        self._transport = AsyncTransport(connecting.endpoint(url))
        self._write_key = write_key

    async def __aenter__(self) -> AsyncSearchClient:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; the client cannot be used again."""
        await self._transport.close()

    async def is_ready(self) -> bool:
        """Return whether the server answers searches."""
        return await self._transport.is_ready(SEARCH)

    async def server_info(self) -> ServerInfo:
        """Return what server it is and which generations it can search; errors as of ``SearchClient.server_info``."""
        return await self._transport.server_info(SEARCH)

    async def search(  # noqa: PLR0913 - what a search can be told, by name
        self,
        query: str = "",
        *,
        k: int = K_DEFAULT,
        ef: int | None = None,
        min_score: float | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name on every side
        fields: Sequence[str] | None = None,
        facets: Sequence[str] | Mapping[str, Any] | None = None,
        sort: str | Sequence[str] | None = None,
        group: str | None = None,
        offset: int = 0,
        like: str | None = None,
        min_probability: float | None = None,
        rerank: int | None = None,
        rerank_budget_ms: float | None = None,
        rules: bool = True,
        mode: Mode | None = None,
        explain: bool = False,
        spelling: bool = True,
        timings: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """Return the products found for a query; arguments and errors are those of ``SearchClient.search``."""
        wanted = Wanted(
            k=k,
            ef=ef,
            min_score=min_score,
            filter=filter,
            fields=fields,
            facets=facets,
            sort=sort,
            group=group,
            offset=offset,
            like=like,
            min_probability=min_probability,
            rerank=rerank,
            rerank_budget_ms=rerank_budget_ms,
            rules=rules,
            mode=mode,
            explain=explain,
            spelling=spelling,
            timings=timings,
            options=options,
        )
        request = search_requests([query], wanted)[0]
        return read_results(request, await self._transport.infer(request))[0]

    async def search_many(  # noqa: PLR0913 - as search
        self,
        queries: Sequence[str],
        *,
        k: int = K_DEFAULT,
        ef: int | None = None,
        min_score: float | None = None,
        mode: Mode | None = None,
        explain: bool = False,
        spelling: bool = True,
        timings: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[SearchResult]:
        """Return the results of several queries in their order, sent 64 at a time; else as ``search``."""
        wanted = Wanted(
            k=k,
            ef=ef,
            min_score=min_score,
            mode=mode,
            explain=explain,
            spelling=spelling,
            timings=timings,
            options=options,
        )
        requests = search_requests(queries, wanted)
        return [result for each in requests for result in read_results(each, await self._transport.infer(each))]

    async def suggest(self, prefix: str, *, k: int = K_DEFAULT) -> SuggestResult:
        """Return what somebody may be about to type; as ``SearchClient.suggest``."""
        request = suggest_request(prefix, k)
        return read_suggestions(request, await self._transport.infer(request))

    async def embed(self, texts: Sequence[str], *, side: Literal["query", "product"] = "query") -> NDArray[np.float32]:
        """Return the embeddings (N, D) float32, unit length, of N texts; else as ``SearchClient.embed``."""
        requests = embed_requests(texts, side)
        return read_embeddings(requests, [await self._transport.infer(each) for each in requests])

"""``SearchClient``: text in, products out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident_client.address import Protocol
from trident_client.answers import read_embeddings, read_results, read_suggestions
from trident_client.behaviour import Behaviour
from trident_client.catalogue import CatalogueCalls
from trident_client.connection import Connecting
from trident_client.requests import SEARCH, Mode, Wanted, embed_requests, search_requests, suggest_request
from trident_client.results import SearchResult, ServerInfo, SuggestResult
from trident_client.tensors import K_DEFAULT
from trident_client.tls import Tls
from trident_client.transport import Transport


class SearchClient(CatalogueCalls):
    """A client of one server; use it as a context manager, or call ``close``. ``AsyncSearchClient`` is its twin.

    Several threads may use it at once. A process that was forked opens connections of its own.

    Args:
        url: ``host:port``, by default the gRPC port of a server on this machine; ``grpc://``, ``grpcs://``,
            ``http://`` or ``https://`` may stand in front.
        protocol: ``"grpc"`` or ``"http"``; the ports differ (8001 and 8000 by default). None: as the url says, gRPC
            where it says nothing.
        timeout_s: Seconds to wait for an answer; the server is told, and works for nobody who waits no longer.
            ``math.inf``: for ever.
        concurrency: Connections that are kept open over HTTP, 16 at least.
        tls: For a server, or a proxy before it, that speaks TLS; None: none, unless the url says so.
        behaviour: Repeats, headers, a token and the like; None: none of them.
        write_key: Of a live catalogue, for who writes to it; None: that of the variable ``TRIDENT_WRITE_KEY``.

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
        self._transport = Transport(connecting.endpoint(url))
        self._write_key = write_key

    def __enter__(self) -> SearchClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the client cannot be used again."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Return whether the server answers searches."""
        return self._transport.is_ready(SEARCH)

    def server_info(self) -> ServerInfo:
        """Return what server it is and which generations it can search.

        Raises:
            ServerUnavailableError: If nobody answers, or no generation is loaded.
            RequestTimeoutError: If the answer takes longer than ``timeout_s``.
        """
        return self._transport.server_info(SEARCH)

    def search(  # noqa: PLR0913 - what a search can be told, by name
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
        """Return the products found for a query, or for what stands instead of one.

        Args:
            query: The server takes 10,000 bytes. Empty: with ``like``, products like that one; else everything that
                passes the filter, by ``sort`` or in the catalogue's order, with ``total`` in the result.
            k: Products to find at most, 1 to 1000.
            ef: Search effort, 1 to 10000; None takes the index's own.
            min_score: Products with a lower cosine are left out, -1 to 1; None leaves out none.
            filter: What leaves products out, such as ``{"brand": ["HP", "Dell"], "price": {"lt": 500}}``.
            fields: Attributes that each hit carries.
            facets: Attributes whose values are counted; or from each to a number of values, or to borders of ranges.
            sort: An attribute instead of the score, ``"-price"`` for the largest first; or several.
            group: An attribute of which each value gets one product.
            offset: Products left out at the front: the next page.
            like: A product's id instead of a query.
            min_probability: Products that are less likely relevant are left out, 0 to 1; needs a calibration.
            rerank: The best so many are put in order by the reranker, 0 to 200; None: as many as the generation says.
            rerank_budget_ms: Milliseconds for that, > 0; what is not scored by then keeps its place.
            rules: Whether merchandisers' rules hold; False answers as if there were none.
            mode: What ranks: vectors and words (``"hybrid"``), vectors (``"dense"``) or words (``"lexical"``); None: as
                the generation chose. ``score`` is the cosine in all of them.
            explain: Whether each hit says what decided its place, in ``Hit.explain``.
            spelling: Whether words that the catalogue lacks are corrected; the result names what was searched instead.
            timings: Whether the result says how long the server's stages took, in ``timings_ms``.
            options: What the generation in service knows beyond these, by name; an unknown name is refused.

        Raises:
            InvalidRequestError: If an argument breaks a rule.
            ServerUnavailableError: If nobody answers, or no generation is loaded.
            RequestTimeoutError: If the answer takes longer than ``timeout_s``.
            ServerOverloadedError: If the server rejects the request to protect itself.
            NotAllowedError: If whoever guards the server does not let the client in.
            UnexpectedAnswerError: If client and server are of different versions, or the server failed.
        """
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
        return read_results(request, self._transport.infer(request))[0]

    def search_many(  # noqa: PLR0913 - as search
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
        return [result for each in requests for result in read_results(each, self._transport.infer(each))]

    def suggest(self, prefix: str, *, k: int = K_DEFAULT) -> SuggestResult:
        """Return what somebody may be about to type, best first: queries of others, and phrases of the catalogue.

        Args:
            prefix: What was typed so far; a blank at its end says that a word is complete. Empty: the best of all.
            k: Suggestions at most, 1 to 100.

        Raises:
            ServerUnavailableError: If nobody answers, or the generation in service has no suggestions.
            ClientError: As for ``search``.
        """
        request = suggest_request(prefix, k)
        return read_suggestions(request, self._transport.infer(request))

    def embed(self, texts: Sequence[str], *, side: Literal["query", "product"] = "query") -> NDArray[np.float32]:
        """Return the embeddings (N, D) float32, unit length, of N texts, all of one generation.

        Args:
            texts: Not empty; sent 64 at a time.
            side: Whether they are queries or product titles; the model may treat them differently.

        Raises:
            UnexpectedAnswerError: As for ``search``, or if the server went to another generation meanwhile.
            ClientError: As for ``search``.
        """
        requests = embed_requests(texts, side)
        return read_embeddings(requests, [self._transport.infer(each) for each in requests])

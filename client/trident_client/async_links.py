"""The two protocols' ways to the server for asyncio; their methods raise what ``failures.FAILURES`` lists."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from http.client import BadStatusLine
from typing import Any, ClassVar, Protocol

from trident_client.address import http_proxy
from trident_client.answers import Answer
from trident_client.connection import Deadline, Endpoint
from trident_client.errors import InvalidRequestError, translate_status
from trident_client.http_pool import Reply
from trident_client.requests import Request
from trident_client.results import ServerInfo
from trident_client.transport import server_info
from trident_client.wire import HEADER_LENGTH, error_text, grpc_call, http_body, read_grpc, read_http

GRPC_LIBRARY, HTTP_LIBRARY = "tritonclient.grpc.aio", "aiohttp"  # imported by who needs them
TRIES = 3  # aiohttp itself drops connections that it sees closed
LOOP_TURNS = 2  # in which the event loop sees which were closed, before what is sent once is sent
NO_HTTP = "Expected HTTP/"  # what aiohttp's parser says of a port that speaks something else


class AsyncLink(Protocol):
    """One protocol's way to the server, of one event loop."""

    async def infer(
        self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool
    ) -> Answer:
        """Return the answer to a request."""

    async def server_info(self, model: str, deadline: Deadline) -> ServerInfo:
        """Return what server it is, and the versions of a model."""

    async def is_server_ready(self, deadline: Deadline) -> bool:
        """Return whether the server says so."""

    async def close(self) -> None:
        """Close what is open."""


class AsyncGrpcLink:
    """tritonclient's gRPC client for asyncio.

    Raises:
        InvalidRequestError: If this process was forked from one that had such a client: gRPC would end it.
    """

    started_in: ClassVar[int | None] = None  # the process in which gRPC's thread for asyncio was started

    def __init__(self, endpoint: Endpoint) -> None:
        """Open a channel; an event loop must be running."""
        if AsyncGrpcLink.started_in not in (None, os.getpid()):
            raise InvalidRequestError(
                f"gRPC for asyncio cannot be used in a process that was forked after its first use: fork first, or ask "
                f"{endpoint.url} over http://"
            )
        AsyncGrpcLink.started_in = os.getpid()
        self._endpoint = endpoint
        library: Any = importlib.import_module(GRPC_LIBRARY)
        self._client = library.InferenceServerClient(**endpoint.grpc_options(library))

    async def infer(
        self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool
    ) -> Answer:
        """Return the answer to a request."""
        call = grpc_call(request, deadline.unix_ms() if tells_deadline else None)
        result = await self._client.infer(**call, **self._options(deadline, headers))
        return read_grpc(request, result, self._endpoint.url)

    async def server_info(self, model: str, deadline: Deadline) -> ServerInfo:
        """Return what server it is, and the versions of a model."""
        server = await self._client.get_server_metadata(as_json=True, **self._options(deadline))
        found = await self._client.get_model_metadata(model, as_json=True, **self._options(deadline))
        return server_info(server, found)

    async def is_server_ready(self, deadline: Deadline) -> bool:
        """Return whether the server says so."""
        return bool(await self._client.is_server_ready(**self._options(deadline)))

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()

    def _options(self, deadline: Deadline, headers: dict[str, str] | None = None) -> dict[str, Any]:
        sent = {**self._endpoint.behaviour.sent_headers(), **(headers or {})}
        return {"client_timeout": deadline.left_s(), "headers": sent or None}


class AsyncHttpLink:
    """Triton's HTTP by aiohttp, with connections kept open between requests."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Open nothing yet; an event loop must be running."""
        self._endpoint = endpoint
        self._aiohttp: Any = importlib.import_module(HTTP_LIBRARY)
        self._proxy = http_proxy(endpoint.address, is_secure=endpoint.tls is not None)
        connector = self._aiohttp.TCPConnector(
            limit=0, ssl=True if endpoint.tls is None else endpoint.tls.context(), keepalive_timeout=15
        )
        self._session = self._aiohttp.ClientSession(
            connector=connector, timeout=self._aiohttp.ClientTimeout(total=None), auto_decompress=True
        )
        self._root = f"{'http' if endpoint.tls is None else 'https'}://{endpoint.url}"

    async def infer(
        self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool
    ) -> Answer:
        """Return the answer to a request."""
        body, own = http_body(request, deadline.unix_ms() if tells_deadline else None)
        path = f"/v2/models/{request.model}/infer"
        if not request.may_repeat:
            for _ in range(LOOP_TURNS):
                await asyncio.sleep(0)
        tries = TRIES if request.may_repeat else 1
        reply = self._good(await self._ask("POST", path, deadline, {**headers, **own}, body, tries=tries))
        return read_http(request, reply.body, reply.headers.get(HEADER_LENGTH), self._endpoint.url)

    async def server_info(self, model: str, deadline: Deadline) -> ServerInfo:
        """Return what server it is, and the versions of a model."""
        server = self._good(await self._ask("GET", "/v2", deadline))
        found = self._good(await self._ask("GET", f"/v2/models/{model}", deadline))
        return server_info(json.loads(server.body), json.loads(found.body))

    async def is_server_ready(self, deadline: Deadline) -> bool:
        """Return whether the server says so."""
        return (await self._ask("GET", "/v2/health/ready", deadline)).status == 200

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        tries: int = TRIES,
    ) -> Reply:
        """Return a reply; where a connection was closed while nobody used it, the request goes out again."""
        for _ in range(tries):
            try:
                return await asyncio.wait_for(self._exchange(method, path, headers or {}, body), deadline.left_s())
            except self._aiohttp.ServerDisconnectedError as error:
                last = error
        raise ConnectionResetError(str(last)) from last

    async def _exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Reply:
        sent = {**self._endpoint.behaviour.sent_headers(), **headers, "accept-encoding": "identity"}  # as http.client
        try:
            async with self._session.request(
                method, self._root + path, data=body, headers=sent, proxy=self._proxy, allow_redirects=False
            ) as response:
                content = await response.read()
                return Reply(response.status, response.reason or "", response.headers, content)
        except self._aiohttp.ServerDisconnectedError:
            raise
        except self._aiohttp.ClientResponseError as error:
            raise BadStatusLine(_first_bytes(error)) from error
        except self._aiohttp.ClientPayloadError as error:
            raise ConnectionAbortedError(str(error)) from error

    def _good(self, reply: Reply) -> Reply:
        if reply.status != 200:
            said = error_text(reply.body, reply.reason)
            raise translate_status(str(reply.status), said, self._endpoint.url, self._endpoint.timeout_s)
        return reply


def _first_bytes(error: Any) -> str:
    """Return what a port that speaks no HTTP said first, as far as aiohttp tells."""
    cause = error.__cause__ or error
    said = str(getattr(cause, "message", cause))
    return "\x00\x00" + said if NO_HTTP in said and "x00" in said else said

"""Requests to Triton by threads, over gRPC or HTTP."""

from __future__ import annotations

import itertools
import json
import logging
import os
import time
from typing import Any, Protocol

import tritonclient.grpc as triton_grpc

from trident_client.answers import Answer
from trident_client.connection import Deadline, Endpoint
from trident_client.errors import ClientError, InvalidRequestError, ServerGaveUpError, translate_status
from trident_client.failures import FAILURES, failure
from trident_client.hedge import Hedge
from trident_client.http_pool import HttpPool, Reply
from trident_client.requests import Request
from trident_client.results import ServerInfo
from trident_client.spans import Spans
from trident_client.wire import HEADER_LENGTH, error_text, grpc_call, http_body, read_grpc, read_http

CLOSED = "the client was closed: make a new one"
AHEAD_SHARE = 0.1  # of timeout_s: who gives up with less to go is late, or a little ahead, as any clock may be
CLOCK_AHEAD = "the clock of the server at %s is %.1f s or more ahead of this machine's: it is told no deadline any more"

log = logging.getLogger(__name__)


class Link(Protocol):
    """One protocol's way to the server; its methods raise what ``failures.FAILURES`` lists."""

    def infer(self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool) -> Answer:
        """Return the answer to a request."""

    def server_info(self, model: str, deadline: Deadline) -> ServerInfo:
        """Return what server it is, and the versions of a model."""

    def is_server_ready(self, deadline: Deadline) -> bool:
        """Return whether the server says so."""

    def close(self) -> None:
        """Close what is open."""


class Transport:
    """A connection to a server, for any number of threads.

    In a process that was forked it is opened anew: a connection cannot be shared.

    Raises:
        InvalidRequestError: If the endpoint's spans need what is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare the connection; nothing is sent yet."""
        self._endpoint = endpoint
        self._link: Link = GrpcLink(endpoint) if endpoint.is_grpc else HttpLink(endpoint)
        self._spans = Spans(endpoint)
        self._hedge = None if endpoint.behaviour.hedge_after_s is None else Hedge(endpoint.behaviour.hedge_after_s)
        self._closed = False
        self._tells_deadline = True

    def infer(self, request: Request) -> Answer:
        """Return the outputs of a model for inputs that share their first dimension.

        Raises:
            ClientError: If the server does not answer, refuses, or leaves out an output.
        """
        deadline = Deadline.after(self._endpoint.timeout_s)
        with self._spans.around(request) as headers:
            for repeats in itertools.count():
                try:
                    if self._hedge is None or not request.may_repeat:
                        return self._told(request, deadline, headers)
                    return self._hedge.ask(lambda: self._told(request, deadline, headers))
                except ClientError as error:
                    if not request.may_repeat:
                        raise
                    pause_s = pause_before_repeat(self._endpoint, error, repeats, deadline)
                    if pause_s is None:
                        raise
                time.sleep(pause_s)
        raise AssertionError("a count ends never")

    def _told(self, request: Request, deadline: Deadline, headers: dict[str, str]) -> Answer:
        """Return the answer; where the server's clock is so far ahead that it gives up at once, tell no deadline."""
        tells = self._tells_deadline
        try:
            return self._once(request, deadline, headers, tells_deadline=tells)
        except ServerGaveUpError:
            left_s = seconds_left(deadline)
            if left_s is None or not tells or not is_far_ahead(self._endpoint, left_s):
                raise
            if self._tells_deadline:  # else another thread has said so
                log.warning(CLOCK_AHEAD, self._endpoint.url, left_s)
            self._tells_deadline = False
            return self._once(request, deadline, headers, tells_deadline=False)

    def _once(self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool) -> Answer:
        self._check_open()
        try:
            return self._link.infer(request, deadline, {**request.headers, **headers}, tells_deadline=tells_deadline)
        except FAILURES as error:
            raise failure(error, self._endpoint) from error

    def server_info(self, model: str) -> ServerInfo:
        """Return name and version of the server, and the versions of a model that are loaded.

        Raises:
            ClientError: If the server does not answer, or the model is not loaded.
        """
        self._check_open()
        try:
            return self._link.server_info(model, Deadline.after(self._endpoint.timeout_s))
        except FAILURES as error:
            raise failure(error, self._endpoint) from error

    def is_ready(self, model: str) -> bool:
        """Return whether the server answers and the model is loaded; a closed connection still raises."""
        self._check_open()
        deadline = Deadline.after(self._endpoint.timeout_s)
        try:
            # A server that is not Triton may call every path ready.
            return self._link.is_server_ready(deadline) and bool(self._link.server_info(model, deadline))
        except (*FAILURES, ClientError):
            return False

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._link.close()
        if self._hedge is not None:
            self._hedge.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError(CLOSED)


class GrpcLink:
    """tritonclient's gRPC client, which threads may share."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Open nothing yet but a channel."""
        self._endpoint = endpoint
        self._opened_in = os.getpid()
        self._client = self._open()
        self._of_parent: list[Any] = []  # never closed here: that would reach into the parent's connections

    def infer(self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool) -> Answer:
        """Return the answer to a request."""
        call = grpc_call(request, deadline.unix_ms() if tells_deadline else None)
        result = self._connected().infer(**call, **self._options(deadline, headers))
        return read_grpc(request, result, self._endpoint.url)

    def server_info(self, model: str, deadline: Deadline) -> ServerInfo:
        """Return what server it is, and the versions of a model."""
        client = self._connected()
        server = client.get_server_metadata(as_json=True, **self._options(deadline))
        found = client.get_model_metadata(model, as_json=True, **self._options(deadline))
        return server_info(server, found)

    def is_server_ready(self, deadline: Deadline) -> bool:
        """Return whether the server says so."""
        return bool(self._connected().is_server_ready(**self._options(deadline)))

    def close(self) -> None:
        """Close the channel."""
        if self._opened_in == os.getpid():
            self._client.close()

    def _options(self, deadline: Deadline, headers: dict[str, str] | None = None) -> dict[str, Any]:
        sent = {**self._endpoint.behaviour.sent_headers(), **(headers or {})}
        return {"client_timeout": deadline.left_s(), "headers": sent or None}

    def _open(self, *, after_fork: bool = False) -> Any:
        options = self._endpoint.grpc_options(triton_grpc, after_fork=after_fork)
        return triton_grpc.InferenceServerClient(**options)

    def _connected(self) -> Any:
        """Return the client of this process."""
        if self._opened_in != os.getpid():
            self._of_parent.append(self._client)
            self._opened_in = os.getpid()
            self._client = self._open(after_fork=True)
        return self._client


class HttpLink:
    """Triton's HTTP over connections that threads share."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Open nothing yet."""
        self._endpoint = endpoint
        self._pool = HttpPool(endpoint)

    def infer(self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool) -> Answer:
        """Return the answer to a request."""
        body, own = http_body(request, deadline.unix_ms() if tells_deadline else None)
        path = f"/v2/models/{request.model}/infer"
        asked = self._pool.ask("POST", path, {**headers, **own}, body, deadline, may_repeat=request.may_repeat)
        reply = self._good(asked)
        return read_http(request, reply.body, reply.headers.get(HEADER_LENGTH), self._endpoint.url)

    def server_info(self, model: str, deadline: Deadline) -> ServerInfo:
        """Return what server it is, and the versions of a model."""
        server = self._good(self._pool.ask("GET", "/v2", {}, None, deadline))
        found = self._good(self._pool.ask("GET", f"/v2/models/{model}", {}, None, deadline))
        return server_info(json.loads(server.body), json.loads(found.body))

    def is_server_ready(self, deadline: Deadline) -> bool:
        """Return whether the server says so."""
        return self._pool.ask("GET", "/v2/health/ready", {}, None, deadline).status == 200

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _good(self, reply: Reply) -> Reply:
        if reply.status != 200:
            said = error_text(reply.body, reply.reason)
            raise translate_status(str(reply.status), said, self._endpoint.url, self._endpoint.timeout_s)
        return reply


def server_info(server: Any, model: Any) -> ServerInfo:
    """Return what Triton's metadata of server and model say."""
    return ServerInfo(server["name"], server["version"], tuple(sorted(int(each) for each in model["versions"])))


def seconds_left(deadline: Deadline) -> float | None:
    """Return what is left of a deadline; None where there is none, or nothing is left."""
    try:
        return deadline.left_s()
    except TimeoutError:
        return None


def is_far_ahead(endpoint: Endpoint, left_s: float) -> bool:
    """Return whether a server that gave up when so much time was left must have a clock that is ahead."""
    return endpoint.timeout_s is None or left_s > AHEAD_SHARE * endpoint.timeout_s


def pause_before_repeat(endpoint: Endpoint, error: ClientError, repeats: int, deadline: Deadline) -> float | None:
    """Return how long to wait before a request is repeated; None where it is not."""
    try:
        return endpoint.behaviour.pause_s(error, repeats, deadline.left_s())
    except TimeoutError:
        return None

"""Requests to Triton by an event loop, over gRPC or HTTP."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from trident_client.answers import Answer
from trident_client.async_links import GRPC_LIBRARY, HTTP_LIBRARY, AsyncGrpcLink, AsyncHttpLink, AsyncLink
from trident_client.connection import Deadline, Endpoint
from trident_client.errors import ClientError, InvalidRequestError, ServerGaveUpError
from trident_client.failures import FAILURES, failure
from trident_client.hedge import ask_twice
from trident_client.requests import Request
from trident_client.results import ServerInfo
from trident_client.spans import Spans
from trident_client.transport import CLOCK_AHEAD, CLOSED, is_far_ahead, pause_before_repeat, seconds_left

GRACE_S = 0.25  # what a library may take to notice its own deadline
Found = TypeVar("Found")

log = logging.getLogger(__name__)


class AsyncTransport:
    """A connection to a server, for any number of tasks.

    A connection belongs to the process and the event loop that opened it; another one opens its own.

    Raises:
        InvalidRequestError: If the endpoint's spans need what is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare the connection; nothing is opened yet, and no event loop need be running."""
        importlib.import_module(GRPC_LIBRARY if endpoint.is_grpc else HTTP_LIBRARY)  # here, where no deadline runs
        self._endpoint = endpoint
        self._link: AsyncLink | None = None
        self._opened_in: tuple[int, Any] | None = None
        self._of_others: list[tuple[int, Any, AsyncLink]] = []  # of a parent's process or another loop
        self._spans = Spans(endpoint)
        self._closed = False
        self._tells_deadline = True

    async def infer(self, request: Request) -> Answer:
        """Return the outputs of a model for inputs that share their first dimension.

        Raises:
            ClientError: If the server does not answer, refuses, or leaves out an output.
        """
        deadline = Deadline.after(self._endpoint.timeout_s)
        hedge_after_s = self._endpoint.behaviour.hedge_after_s
        with self._spans.around(request) as headers:
            for repeats in itertools.count():
                try:
                    if hedge_after_s is None or not request.may_repeat:
                        return await self._told(request, deadline, headers)
                    return await ask_twice(lambda: self._told(request, deadline, headers), hedge_after_s)
                except ClientError as error:
                    if not request.may_repeat:
                        raise
                    pause_s = pause_before_repeat(self._endpoint, error, repeats, deadline)
                    if pause_s is None:
                        raise
                await asyncio.sleep(pause_s)
        raise AssertionError("a count ends never")

    async def _told(self, request: Request, deadline: Deadline, headers: dict[str, str]) -> Answer:
        """Return the answer; where the server's clock is so far ahead that it gives up at once, tell no deadline."""
        tells = self._tells_deadline
        try:
            return await self._once(request, deadline, headers, tells_deadline=tells)
        except ServerGaveUpError:
            left_s = seconds_left(deadline)
            if left_s is None or not tells or not is_far_ahead(self._endpoint, left_s):
                raise
            if self._tells_deadline:  # else another task has said so
                log.warning(CLOCK_AHEAD, self._endpoint.url, left_s)
            self._tells_deadline = False
            return await self._once(request, deadline, headers, tells_deadline=False)

    async def _once(
        self, request: Request, deadline: Deadline, headers: dict[str, str], *, tells_deadline: bool
    ) -> Answer:
        sent = {**request.headers, **headers}
        return await self._within(
            deadline, lambda link: link.infer(request, deadline, sent, tells_deadline=tells_deadline)
        )

    async def server_info(self, model: str) -> ServerInfo:
        """Return name and version of the server, and the versions of a model that are loaded.

        Raises:
            ClientError: If the server does not answer, or the model is not loaded.
        """
        deadline = Deadline.after(self._endpoint.timeout_s)
        return await self._within(deadline, lambda link: link.server_info(model, deadline))

    async def is_ready(self, model: str) -> bool:
        """Return whether the server answers and the model is loaded; a closed connection still raises."""
        self._check_open()
        deadline = Deadline.after(self._endpoint.timeout_s)
        try:
            ready = await self._within(deadline, lambda link: link.is_server_ready(deadline))
            return ready and bool(await self._within(deadline, lambda link: link.server_info(model, deadline)))
        except ClientError:
            return False

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        if self._link is not None and self._opened_in == self._here():
            await self._link.close()
            self._link = None

    async def _within(self, deadline: Deadline, ask: Callable[[AsyncLink], Awaitable[Found]]) -> Found:
        """Return what a link answers, its failures turned into the client's errors, in time."""
        self._check_open()
        await self._tidy()
        try:
            left_s = deadline.left_s()
            limit_s = None if left_s is None else left_s + GRACE_S
            return await asyncio.wait_for(ask(self._connected()), limit_s)
        except FAILURES as error:
            raise await asyncio.to_thread(failure, error, self._endpoint) from error

    async def _tidy(self) -> None:
        """Close what event loops that have ended left behind; not those that run, or a parent's."""
        for each in [each for each in self._of_others if each[1].is_closed() and each[0] == os.getpid()]:
            self._of_others.remove(each)
            await each[2].close()

    def _connected(self) -> AsyncLink:
        here = self._here()
        if self._link is None or self._opened_in != here:
            if self._link is not None and self._opened_in is not None:
                self._of_others.append((*self._opened_in, self._link))
            self._link = AsyncGrpcLink(self._endpoint) if self._endpoint.is_grpc else AsyncHttpLink(self._endpoint)
            self._opened_in = here
        return self._link

    def _here(self) -> tuple[int, Any]:
        return os.getpid(), asyncio.get_running_loop()

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError(CLOSED)

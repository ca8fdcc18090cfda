"""HTTP connections that threads share, kept open between requests; every wait ends at the request's deadline."""

from __future__ import annotations

import base64
import io
import os
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from trident_client.address import http_proxy
from trident_client.connection import Deadline, Endpoint


class Headers(Protocol):
    """Headers of a reply, found by their names in any case."""

    def get(self, name: str) -> str | None:
        """Return one; None: there is none."""


IDLE = 16  # connections kept open, where the client was not made for more


@dataclass(frozen=True)
class Reply:
    """What came back: the status, its words, headers and the whole body."""

    status: int
    reason: str
    headers: Headers
    body: bytes


class HttpPool:
    """Requests of several threads to one server. A process that was forked opens connections of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare; nothing is opened yet."""
        self._endpoint = endpoint
        host, _, path = endpoint.address.place.partition("/")
        self._host, self._path = host, f"/{path}" if path else ""
        self._context = None if endpoint.tls is None else endpoint.tls.context()
        self._most = max(endpoint.concurrency, IDLE)
        self._opened_in = os.getpid()
        self._closed = False
        self._idle: deque[HTTPConnection] = deque()  # its pop and append need no lock, which a fork could leave held

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline,
        *,
        may_repeat: bool = True,
    ) -> Reply:
        """Return the reply to a request.

        Args:
            method: Of HTTP.
            path: Behind that of the endpoint.
            headers: Beside those of the endpoint's behaviour.
            body: None: there is none.
            deadline: Until which it is waited for.
            may_repeat: Whether it may be sent again where a connection ends that was kept: the server may have got it.

        Raises:
            OSError: If the server cannot be reached, TimeoutError if the deadline passes.
            HTTPException: If what comes back is no HTTP.
        """
        if self._opened_in != os.getpid():
            self._opened_in, self._idle = os.getpid(), deque()
        while True:
            try:
                connection, is_new = self._idle.pop(), False
            except IndexError:
                connection, is_new = self._new(deadline), True
            timed: Any = connection.sock
            if not may_repeat and not is_new and timed.has_ended():
                connection.close()
                continue
            try:
                reply, is_kept = self._exchange(connection, method, path, headers, body, deadline)
            except (ConnectionResetError, BrokenPipeError):
                connection.close()
                if is_new or not may_repeat:
                    raise
                continue  # it was closed while nobody used it: another one
            except BaseException:
                connection.close()
                raise
            if is_kept and len(self._idle) < self._most:
                self._idle.append(connection)
            else:
                connection.close()
            if self._closed:  # meanwhile: a request that was overtaken comes back later
                self._close_idle()
            return reply

    def close(self) -> None:
        """Close the connections that no thread is using; the others are closed after their reply."""
        self._closed = True
        if self._opened_in == os.getpid():
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _new(self, deadline: Deadline) -> HTTPConnection:
        is_secure = self._context is not None
        proxy = http_proxy(self._endpoint.address, is_secure=is_secure)
        place = urlsplit(proxy if proxy else f"//{self._host}")
        options: dict[str, Any] = {"timeout": deadline.left_s()}
        host, port = place.hostname or "", place.port or 80
        connection = (
            HTTPConnection(host, port, **options)
            if self._context is None
            else HTTPSConnection(host, port, context=self._context, **options)
        )
        if proxy and is_secure:
            connection.set_tunnel(self._endpoint.address.host, urlsplit(f"//{self._host}").port, _credentials(proxy))
        connection.connect()
        connection.sock = _TimedSocket(connection.sock)
        return connection

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline,
    ) -> tuple[Reply, bool]:
        timed: Any = connection.sock
        timed.deadline = deadline
        target = self._path + path
        sent = {**self._endpoint.behaviour.sent_headers(), **headers}
        if self._context is None and (proxy := http_proxy(self._endpoint.address, is_secure=False)):
            target = f"http://{self._host}{target}"
            sent |= _credentials(proxy)
        connection.request(method, target, body=body, headers={**sent, "Host": self._host})
        timed.send_held()
        response = connection.getresponse()
        content = response.read()
        length = response.getheader("Content-Length")
        if length is None and not content and not response.chunked and method != "HEAD":
            raise ConnectionAbortedError("the connection was cut off in the middle of an answer")
        return Reply(response.status, response.reason, response.headers, content), not response.will_close


class _TimedSocket:
    """A socket as http.client uses it, each wait of which ends at a deadline."""

    def __init__(self, connected: socket.socket | ssl.SSLSocket) -> None:
        self._connected = connected
        self._held: list[bytes] = []
        self.deadline = Deadline(None)

    def limit(self) -> None:
        """Let the next wait end at the deadline."""
        self._connected.settimeout(self.deadline.left_s())

    def has_ended(self) -> bool:
        """Return whether something came while nobody asked: the end, or what makes the connection of no use."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._connected, selectors.EVENT_READ)
            return bool(selector.select(0))

    def sendall(self, data: bytes) -> None:
        """Hold data back: http.client hands over headers and body one after the other, which are sent as one."""
        self._held.append(data)

    def send_held(self) -> None:
        """Send what is held back."""
        held, self._held = b"".join(self._held), []
        self.limit()
        self._connected.sendall(held)

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_TimedReader(self, self._connected.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._connected.close()


class _TimedReader(io.RawIOBase):
    def __init__(self, timed: _TimedSocket, raw: Any) -> None:
        self._timed = timed
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.limit()
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def _credentials(proxy: str) -> dict[str, str]:
    found = urlsplit(proxy)
    if found.username is None:
        return {}
    pair = f"{unquote(found.username)}:{unquote(found.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

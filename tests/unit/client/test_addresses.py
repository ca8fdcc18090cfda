"""Where a client connects: addresses with TLS, HTTPS, what goes through a proxy, and the errors that name it."""

from __future__ import annotations

import asyncio
import http.server
import json
import selectors
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from trident_client import (
    AsyncSearchClient,
    InvalidRequestError,
    RequestTimeoutError,
    SearchClient,
    ServerUnavailableError,
    Tls,
)
from trident_client.address import Address, grpc_proxy, parse_address
from trident_client.connection import secured


@pytest.mark.parametrize(
    ("url", "protocol", "place", "is_secure"),
    [
        ("127.0.0.1:8001", "grpc", "127.0.0.1:8001", None),
        ("grpc://search.shop:8001", "grpc", "search.shop:8001", False),
        ("grpcs://search.shop:443", "grpc", "search.shop:443", True),
        ("http://[::1]:8000/triton/", "http", "[::1]:8000/triton", False),
        ("https://search.shop", "http", "search.shop:443", True),
        ("https://search.shop/triton", "http", "search.shop:443/triton", True),
        ("https://[::1]", "http", "[::1]:443", True),
        (" https://search.shop:8443 ", "http", "search.shop:8443", True),
    ],
)
def test_addresses(url: str, protocol: str, place: str, is_secure: bool | None) -> None:
    assert parse_address(url, protocol) == Address(place, is_secure)


def test_tls_is_what_address_and_argument_say_together() -> None:
    tls = Tls()
    assert secured(Address("a:1"), None) is None
    assert secured(Address("a:1"), tls) is tls
    assert secured(Address("a:1", True), tls) is tls
    assert secured(Address("a:1", True), None) == Tls()
    for url, protocol in (("http://a:1", "http"), ("grpc://a:1", "grpc")):
        with pytest.raises(
            InvalidRequestError, match=r"^url of a:1 names a scheme without TLS, but tls is given: write"
        ):
            SearchClient(url, protocol=protocol, tls=tls)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("[::1]", True),
        ("LOCALHOST", True),
        ("10.0.0.1", False),
        ("shop", False),
    ],
)
def test_this_machine_is_known_by_its_names(host: str, is_loopback: bool) -> None:
    assert Address(f"{host}:8001").is_loopback == is_loopback


@pytest.mark.parametrize(
    ("environment", "place", "proxy"),
    [
        ({}, "search.shop:8001", None),
        ({"http_proxy": "http://proxy:3128"}, "search.shop:8001", "http_proxy=proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, "127.0.0.1:8001", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": ""}, "localhost:8001", None),
        ({"https_proxy": "proxy:1", "http_proxy": "proxy:2"}, "search.shop:8001", "https_proxy=proxy:1"),
        ({"grpc_proxy": "http://me:secret@proxy:1", "https_proxy": "x:2"}, "search.shop:8001", "grpc_proxy=proxy:1"),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "a.b, .shop"}, "search.shop:8001", None),
        (
            {"http_proxy": "http://proxy:3128", "no_grpc_proxy": "a.b", "no_proxy": ".shop"},
            "s.shop:8001",
            "http_proxy=proxy:3128",
        ),
    ],
)
def test_the_proxy_that_grpc_goes_through(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], place: str, proxy: str | None
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert grpc_proxy(Address(place)) == proxy


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def https(authority: trustme.CA) -> Iterator[str]:
    """Return ``127.0.0.1:port`` of a server of HTTPS that answers as a Triton server without models does."""

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = {"/v2": {"name": "behind tls", "version": "2"}, "/v2/models/search": {"versions": ["7"]}}
            body = json.dumps(path.get(self.path, {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust it hangs up
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def trusting(authority: trustme.CA, folder: Path) -> Tls:
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return Tls(ca=folder / "ca.pem")


@pytest.mark.parametrize("form", ["https://{}", "{}"])
def test_https_is_spoken_to_whom_is_trusted(https: str, authority: trustme.CA, tmp_path: Path, form: str) -> None:
    tls = trusting(authority, tmp_path)
    with SearchClient(form.format(https), protocol="http", tls=tls, timeout_s=5) as client:
        assert client.is_ready()
        assert client.server_info().name == "behind tls"


@pytest.mark.parametrize("own", [True, False])
def test_https_of_a_stranger_is_refused(https: str, tmp_path: Path, own: bool) -> None:
    tls = trusting(trustme.CA(), tmp_path) if own else None
    with SearchClient(f"https://{https}", protocol="http", tls=tls, timeout_s=5) as client:
        assert not client.is_ready()
        with pytest.raises(
            ServerUnavailableError, match=rf"certificate of the server at {https} must be signed by a trusted"
        ):
            client.server_info()


def test_who_waits_for_ever_still_connects(https: str, authority: trustme.CA, tmp_path: Path) -> None:
    for timeout_s in (float("inf"), 1e300):
        tls = trusting(authority, tmp_path)
        with SearchClient(https, protocol="http", tls=tls, timeout_s=timeout_s) as client:
            assert client.is_ready()


def test_an_error_names_the_proxy_that_was_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    asked: Any = (ServerUnavailableError, RequestTimeoutError)
    with SearchClient("search.shop.invalid:8001", timeout_s=3) as client, pytest.raises(asked) as caught:
        client.search("navy sofa")
    said = str(caught.value)
    proxy = "http_proxy=127.0.0.1:9: no_proxy=search.shop.invalid goes without"
    assert said.endswith(f"; asked through the proxy of the environment, {proxy}")
    assert "secret" not in said


@pytest.fixture
def tunnel(triton: Any) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of a proxy whose every tunnel leads to the small server's gRPC, and what it was asked for."""
    asked: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline())
            while (line := self.rfile.readline()).strip():
                asked[-1] += line
            with socket.create_connection(("127.0.0.1", triton.ports["grpc"])) as server:
                self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                with selectors.DefaultSelector() as both:
                    both.register(self.connection, selectors.EVENT_READ, server)
                    both.register(server, selectors.EVENT_READ, self.connection)
                    while True:
                        for key, _ in both.select():
                            content = key.fileobj.recv(65536)  # type: ignore[union-attr]
                            if not content:
                                return
                            key.data.sendall(content)

    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is none."""

    with Proxy(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield proxy.server_address[1], asked
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize("is_async", [False, True], ids=["grpc", "grpc-async"])
def test_grpc_goes_through_the_proxy_but_not_to_this_machine(
    triton: Any, tunnel: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    port, asked = tunnel
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{port}")

    def ask(url: str, timeout_s: float) -> str:
        if not is_async:
            with SearchClient(url, timeout_s=timeout_s) as client:
                return client.search("sofa").hits[0].title

        async def search() -> str:
            async with AsyncSearchClient(url, timeout_s=timeout_s) as client:
                return (await client.search("sofa")).hits[0].title

        return asyncio.run(search())

    assert ask("grpc://search.shop.invalid:8001", 30) == "sofa"
    assert asked[0].startswith(b"CONNECT search.shop.invalid:8001 HTTP/1.")
    assert b"Basic bWU6d29yZA==" in asked[0]
    assert ask(f"grpc://127.0.0.1:{triton.ports['grpc']}", 30) == "sofa"
    assert len(asked) == 1
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        (ServerUnavailableError, RequestTimeoutError), match="through the proxy of the environment, http_"
    ):
        ask("grpc://search.shop.invalid:8002", 2)

"""The client's errors, one clear line each: bad arguments, closed and silent ports, web servers, strange answers."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from trident_client import (
    CatalogueFollowsError,
    CatalogueFullError,
    CatalogueStoppedError,
    ClientError,
    InvalidRequestError,
    NotAllowedError,
    RequestTimeoutError,
    SearchClient,
    ServerOverloadedError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    UnknownOutcomeError,
    WriteKeyError,
)
from trident_client.errors import ServerGaveUpError, translate

Protocol = Literal["grpc", "http"]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")


@contextmanager
def web_server(status: int, body: bytes) -> Iterator[str]:
    """Yield the address of a real web server that answers everything alike."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def text_server(text: bytes) -> Iterator[str]:
    """Yield the address of a server that greets one connection with a text that is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(text)

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_answers(closed_port: int, protocol: Protocol) -> None:
    with SearchClient(f"127.0.0.1:{closed_port}", protocol=protocol, timeout_s=5) as client:
        assert not client.is_ready()
        for ask in (client.server_info, lambda: client.search("sofa"), lambda: client.embed(["sofa"])):
            with pytest.raises(
                ServerUnavailableError, match=rf"no server answers at 127\.0\.0\.1:{closed_port}: start"
            ):
                ask()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_answer_in_time(protocol: Protocol) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with SearchClient(url, protocol=protocol, timeout_s=0.3) as client:
            start = time.monotonic()
            with pytest.raises(RequestTimeoutError, match=rf"no answer from {url} within 0\.3 s: .* raise timeout_s"):
                client.search("sofa")
            assert not client.is_ready()
            assert time.monotonic() - start < 5


def test_a_web_port_is_named_to_a_grpc_client() -> None:
    with web_server(200, b"") as url, SearchClient(url, timeout_s=5) as client:
        with pytest.raises(
            ServerUnavailableError, match=rf"{url} speaks http, not grpc: pass protocol='http', or .*8001"
        ):
            client.search("sofa")
        assert not client.is_ready()


def test_a_grpc_port_is_named_to_a_web_client() -> None:
    settings_frame = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # how every gRPC server greets (HTTP/2)
    with (
        text_server(settings_frame) as url,
        SearchClient(url, protocol="http", timeout_s=5) as client,
        pytest.raises(ServerUnavailableError, match=rf"{url} speaks grpc, not http: pass protocol='grpc', or .*8000"),
    ):
        client.search("sofa")


def test_a_connection_cut_off_is_nobody_answering() -> None:
    with (
        text_server(b"HTTP/1.1 200 OK\r\nContent-Le") as url,
        SearchClient(url, protocol="http") as client,
        pytest.raises(ServerUnavailableError, match=rf"no server answers at {url}"),
    ):
        client.search("sofa")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"error": "in ensemble 'search', k must be 1 to 1000, got 0"}, InvalidRequestError, "^k must be 1 to"),
        (
            404,
            {"error": "Request for unknown model: 'search' is not found"},
            ServerUnavailableError,
            "is not ready to search: Request for unknown model",
        ),
        (
            400,
            {"error": "unexpected inference input 'ef' for model 'search'"},
            UnexpectedAnswerError,
            "serves another contract than this client's: unexpected inference input 'ef'",
        ),
        (
            400,
            {"error": "[request id: <id_unknown>] inference request batch-size must be <= 8 for 'search'"},
            UnexpectedAnswerError,
            "serves another contract than this client's: inference request batch-size",
        ),
        (
            503,
            {"error": "in ensemble 'search', [request id: <id_unknown>] Exceeds maximum queue size"},
            ServerOverloadedError,
            "is overloaded: Exceeds maximum queue size; try again later",
        ),
        (503, {"error": "Request timeout expired"}, ServerOverloadedError, "is overloaded"),
        (503, {"error": "no healthy upstream"}, ServerUnavailableError, "is not ready to search: no healthy upstream"),
        (500, {"error": "boom\nTraceback"}, UnexpectedAnswerError, "failed: 500, boom$"),
        (500, {"error": ""}, UnexpectedAnswerError, "failed: 500, no message$"),
    ],
)
def test_statuses_of_http(status: int, body: dict[str, str], kind: type[ClientError], message: str) -> None:
    with web_server(status, json.dumps(body).encode()) as url, SearchClient(url, protocol="http") as client:
        with pytest.raises(kind, match=message) as caught:
            client.search("sofa")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "text", "kind", "message"),
    [
        ("INVALID_ARGUMENT", "in ensemble 'embed', text must not be empty", InvalidRequestError, "^text must not be"),
        (
            "UNAVAILABLE",
            "in ensemble 'search', Exceeds maximum queue size",
            ServerOverloadedError,
            "is overloaded: Exc",
        ),
        ("NOT_FOUND", "Request for unknown model: 'search' is not found", ServerUnavailableError, "not ready"),
        (
            "NOT_FOUND",
            "Request for unknown model: 'catalogue' is not found",
            ServerUnavailableError,
            "^the server at h:1 has no live catalogue: start it with trident serve --live: Request for unknown",
        ),
        (
            "UNAVAILABLE",
            "failed to connect to all addresses",
            ServerUnavailableError,
            r"no server answers at h:1: start",
        ),
        (
            "UNAVAILABLE",
            "in ensemble 'search', the store http://s:6333 is away: a search was not answered",
            ServerUnavailableError,
            "^the server at h:1 is not ready to search: the store http://s:6333 is away",
        ),
        (
            "CANCELLED",
            "in ensemble 'search', DEADLINE_EXCEEDED: the request's deadline_unix_ms had passed 0.2 s",
            ServerGaveUpError,
            r"^no answer from h:1 within 2\.5 s: try again, or raise timeout_s$",
        ),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", RequestTimeoutError, r"no answer from h:1 within 2\.5 s"),
        ("INTERNAL", "the stub process is not healthy", UnexpectedAnswerError, "failed: INTERNAL, the stub process"),
    ],
)
def test_statuses_of_grpc(status: str, text: str, kind: type[ClientError], message: str) -> None:
    error = translate(InferenceServerException(msg=text, status=f"StatusCode.{status}"), "h:1", 2.5)
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error


@pytest.mark.parametrize("body", [b"<html>a shop</html>", b"{}", b"[]"])
def test_another_web_server_is_no_triton(body: bytes) -> None:
    with web_server(200, body) as url, SearchClient(url, protocol="http") as client:
        assert not client.is_ready()
        with pytest.raises(UnexpectedAnswerError, match=rf"what answers at {url} is no Triton server"):
            client.server_info()
        with pytest.raises(UnexpectedAnswerError):
            client.search("sofa")


def test_an_answer_that_lacks_an_output_is_unexpected() -> None:
    body = json.dumps({"model_name": "search", "model_version": "1", "outputs": []}).encode()
    with (
        web_server(200, body) as url,
        SearchClient(url, protocol="http") as client,
        pytest.raises(UnexpectedAnswerError, match=r"left out product_id, .*, generation of model search"),
    ):
        client.search("sofa")


def test_an_answer_of_other_length_is_unexpected() -> None:
    body = {
        "model_name": "embed",
        "model_version": "1",
        "outputs": [
            {"name": "embedding", "datatype": "FP32", "shape": [1, 2], "data": [0.6, 0.8]},
            {"name": "generation", "datatype": "BYTES", "shape": [1, 1], "data": ["g"]},
        ],
    }
    with (
        web_server(200, json.dumps(body).encode()) as url,
        SearchClient(url, protocol="http") as client,
        pytest.raises(UnexpectedAnswerError, match=r"2 texts must have 2 answers, got tensors of shapes"),
    ):
        client.embed(["sofa", "lamp"])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda client: client.search(""), "^query must not be empty, got ''$"),
        (lambda client: client.search(" \t"), r"^query must not be empty, got ' \\t'$"),
        (lambda client: client.search(None), "^query must be a string, got None$"),
        (lambda client: client.search(b"sofa"), "^query must be a string, got b'sofa'$"),
        (lambda client: client.search("\ud83d"), "^query must be UTF-8, got .* half a character$"),
        (lambda client: client.search("sofa", k=0), "^k must be 1 to 1000, got 0$"),
        (lambda client: client.search("sofa", k=1001), "^k must be 1 to 1000, got 1001$"),
        (lambda client: client.search("sofa", k=2.5), r"^k must be an integer, 1 to 1000, got 2\.5$"),
        (lambda client: client.search("sofa", k="5"), "^k must be an integer, 1 to 1000, got '5'$"),
        (lambda client: client.search("sofa", ef=0), "^ef must be 1 to 10000, got 0$"),
        (lambda client: client.search("sofa", ef=10_001), "^ef must be 1 to 10000, got 10001$"),
        (lambda client: client.search("sofa", min_score=1.5), r"^min_score must be -1 to 1, a cosine, got 1\.5$"),
        (
            lambda client: client.search("sofa", min_score=float("nan")),
            "^min_score must be -1 to 1, a cosine, got nan$",
        ),
        (lambda client: client.search("sofa", min_score="0"), "^min_score must be -1 to 1, a cosine, got 0$"),
        (lambda client: client.search_many("sofa"), "^a list of at least one query is needed, got 'sofa'$"),
        (lambda client: client.search_many([]), r"^a list of at least one query is needed, got \[\]$"),
        (lambda client: client.search_many(["sofa", ""]), r"^query must not be empty, got '' \(query 2 of 2\)$"),
        (lambda client: client.embed([]), r"^a list of at least one query is needed, got \[\]$"),
        (
            lambda client: client.embed(["x", 3], side="product"),
            r"^product must be a string, got 3 \(product 2 of 2\)$",
        ),
        (lambda client: client.embed(["x"], side="title"), "^side must be query or product, got 'title'$"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_sent(
    closed_port: int, ask: Callable[[Any], object], message: str
) -> None:
    with SearchClient(f"127.0.0.1:{closed_port}") as client, pytest.raises(InvalidRequestError, match=message):
        ask(client)


def test_numbers_of_numpy_are_numbers(closed_port: int) -> None:
    with SearchClient(f"127.0.0.1:{closed_port}") as client, pytest.raises(ServerUnavailableError):
        client.search_many(np.array(["sofa", "lamp"]), k=np.int64(3), ef=np.int32(9), min_score=np.float32(0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "protocol", "message"),
    [
        ("127.0.0.1:8001", "rest", "protocol must be grpc or http, got 'rest'"),
        ("localhost", "grpc", r"url must be host:port, such as 127\.0\.0\.1:8001 for grpc, got 'localhost'"),
        ("localhost", "http", r"url must be host:port, such as 127\.0\.0\.1:8000 for http, got 'localhost'"),
        (":8001", "grpc", "url must be host:port"),
        ("", "grpc", "url must be host:port"),
        ("host:0", "grpc", "url must be host:port"),
        ("host:70000", "grpc", "url must be host:port"),
        ("host:port", "grpc", "url must be host:port"),
        ("http://host:8000", "grpc", r"names http, but protocol is grpc: pass protocol='http', or .* 8001 by default"),
        ("grpc://host:8001", "http", r"names grpc, but protocol is http: pass protocol='grpc', or .* 8000 by default"),
        (
            "ftp://host:443",
            "http",
            "url must start with grpc://, grpcs://, http://, https:// or have no scheme, got 'ftp",
        ),
        ("https://host:443", "grpc", r"names https, but protocol is grpc: pass protocol='http'"),
        ("grpcs://host", "grpc", r"url must be host:port, such as 127\.0\.0\.1:8001 for grpc, got 'grpcs://host'"),
        ("https://", "http", r"url must be host:port, such as 127\.0\.0\.1:8000 for http, got 'https://'"),
        ("host:8001/path", "grpc", "url of gRPC must be host:port without a path"),
    ],
)
def test_an_address_that_cannot_be_right(url: str, protocol: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        SearchClient(url, protocol=protocol)


@pytest.mark.parametrize(
    ("url", "protocol"),
    [("grpc://{}", "grpc"), ("{}", "grpc"), ("http://{}", "http"), ("http://{}/", "http"), ("http://{}/a/b", "http")],
)
def test_a_scheme_may_stand_in_front(closed_port: int, url: str, protocol: Protocol) -> None:
    place = f"127.0.0.1:{closed_port}"
    with (
        SearchClient(url.format(place), protocol=protocol) as client,
        pytest.raises(ServerUnavailableError, match=rf"no server answers at {place}(/a/b)?: "),
    ):
        client.search("sofa")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 0}, "timeout_s must be > 0, got 0"),
        ({"timeout_s": float("nan")}, "timeout_s must be > 0, got nan"),
        ({"concurrency": 0}, "concurrency must be >= 1, got 0"),
    ],
)
def test_rules_of_the_client(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        SearchClient(**options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_closed_client_says_so(closed_port: int, protocol: Protocol) -> None:
    client = SearchClient(f"127.0.0.1:{closed_port}", protocol=protocol)
    client.close()
    for ask in (client.is_ready, client.server_info, lambda: client.search("sofa")):
        with pytest.raises(InvalidRequestError, match="the client was closed: make a new one"):
            ask()


def test_every_error_is_a_client_error() -> None:
    errors = {
        InvalidRequestError,
        NotAllowedError,
        ServerUnavailableError,
        RequestTimeoutError,
        ServerOverloadedError,
        UnexpectedAnswerError,
        WriteKeyError,
        CatalogueFullError,
        CatalogueStoppedError,
        CatalogueFollowsError,
        UnknownOutcomeError,
    }
    assert set(ClientError.__subclasses__()) == errors

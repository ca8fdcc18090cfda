"""A small server that speaks Triton's two protocols as told, and the client in its four forms."""

from __future__ import annotations

import asyncio
import gc
import http.server
import json
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor

from trident_client import AsyncSearchClient, SearchClient


@pytest.fixture(autouse=True, scope="module")
def what_ended_loops_left() -> Iterator[None]:
    """Collect, after each file, transports of event loops that ended: later, within ``ast.parse``, they break that."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# What the server does with a request, instead of answering it: HTTP's status, gRPC's, and what both say.
REFUSALS: dict[str, tuple[int, grpc.StatusCode, str]] = {
    "overloaded": (503, grpc.StatusCode.UNAVAILABLE, "in ensemble 'search', Exceeds maximum queue size"),
    "loading": (503, grpc.StatusCode.UNAVAILABLE, "model 'search' is not ready"),
    "refused": (400, grpc.StatusCode.INVALID_ARGUMENT, "k must be 1 to 3, got 9"),
    "guarded": (401, grpc.StatusCode.UNAUTHENTICATED, "who are you"),
    "no key": (500, grpc.StatusCode.INTERNAL, "PERMISSION_DENIED: said so"),
    "full": (500, grpc.StatusCode.INTERNAL, "RESOURCE_EXHAUSTED: said so"),
    "stopped": (500, grpc.StatusCode.INTERNAL, "UNAVAILABLE: said so"),
    "follows": (500, grpc.StatusCode.INTERNAL, "FOLLOWS: said so"),
    "third": (400, grpc.StatusCode.INVALID_ARGUMENT, "operation 3 of 500, product 'p2': no field 'operation 1 of 2'"),
    "twice": (400, grpc.StatusCode.INVALID_ARGUMENT, "once in a request, got 'p' as operation 3 and 7: send the last"),
    "unknown": (500, grpc.StatusCode.INTERNAL, "UNKNOWN_OUTCOME: said so"),
    "gave up": (499, grpc.StatusCode.CANCELLED, "in ensemble 'search', DEADLINE_EXCEEDED: it had passed"),
    "broken": (500, grpc.StatusCode.INTERNAL, "the stub process is not healthy"),
}
ENDS = ("hangs up", "leaves")  # over HTTP: instead of an answer, or behind it without a word


@dataclass
class SmallTriton:
    """A server of both protocols: a search for a text finds one product whose title is that text.

    ``orders`` are what it does with the next requests: a name of REFUSALS or ENDS, seconds to wait before an answer,
    or None;
    ``details`` what its searches say beside the product, ``count`` 0 where they find none.
    """

    orders: deque[str | float | None] = field(default_factory=deque)
    seen: list[dict[str, Any]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    count: int = 1

    def take(self, headers: Mapping[str, str], request_id: str, tensors: Mapping[str, Any]) -> str | None:
        """Write a request down, wait if told, and return the refusal if told."""
        self.seen.append({"headers": dict(headers), "id": request_id, "tensors": tensors})
        order = self.orders.popleft() if self.orders else None
        if isinstance(order, float):
            time.sleep(order)
            return None
        return order

    def answer(self, given: Mapping[str, list[str]]) -> dict[str, np.ndarray]:
        """Return the tensors for the first of what is given; of operations the first is done, the others are stale."""
        texts = next(iter(given.values()))
        operations = json.loads(given["operations"][0]) if "operations" in given else [{}, {}]
        result = {"number": 3, "outcomes": ["done", *["stale"] * (len(operations) - 1)]}
        column = np.array([[text.encode()] for text in texts], dtype=np.object_)
        rows = len(texts)
        return {
            "product_id": column,
            "title": column,
            "suggestion": column,
            "source": np.array([[b"title"]] * rows, dtype=np.object_),
            "score": np.full((rows, 1), 0.5, dtype=np.float32),
            "count": np.full((rows, 1), self.count, dtype=np.int32),
            "details": np.array([[json.dumps(self.details).encode()]] * rows, dtype=np.object_),
            "generation": np.array([[b"g1"]] * rows, dtype=np.object_),
            "result": np.array([json.dumps(result).encode()], dtype=np.object_),
            "embedding": np.array([[len(text), 1.0] for text in texts], dtype=np.float32),
        }


def packed(values: np.ndarray) -> bytes:
    return serialize_byte_tensor(values).item() if values.dtype == np.object_ else values.tobytes()


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, triton: SmallTriton) -> None:
        self.triton = triton

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        given = {
            each.name: [text.decode() for text in deserialize_bytes_tensor(content)]
            for each, content in zip(request.inputs, request.raw_input_contents, strict=True)
            if each.datatype == "BYTES"
        }
        order = self.triton.take(dict(context.invocation_metadata()), request.id, given)
        if order is not None:
            _, status, said = REFUSALS[order]
            context.abort(status, said)
        found = self.triton.answer(given)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="7", id=request.id)
        for wanted in request.outputs:
            values = found[wanted.name]
            answer.outputs.add(name=wanted.name, datatype=np_to_triton_dtype(values.dtype), shape=values.shape)
            answer.raw_output_contents.append(packed(values))
        return answer

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=True)

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="small", version="2")

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["7"])


def web_handler(triton: SmallTriton) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = {"/v2": {"name": "small", "version": "2"}, "/v2/models/search": {"versions": ["7"]}}
            self.reply(200, json.dumps(known.get(self.path, {})).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            start = int(self.headers["Inference-Header-Content-Length"])
            request = json.loads(body[:start])
            given = {}
            for each in request["inputs"]:
                size = each["parameters"]["binary_data_size"]
                if each["datatype"] == "BYTES":
                    content = deserialize_bytes_tensor(body[start : start + size])
                    given[each["name"]] = [text.decode() for text in content]
                start += size
            headers = {name.lower(): value for name, value in self.headers.items()} | {"path": self.path}
            order = triton.take(headers, request.get("id", ""), given)
            self.close_connection = order in ENDS
            if order == "hangs up":
                return
            if order in REFUSALS:
                status, _, said = REFUSALS[order]
                self.reply(status, json.dumps({"error": said}).encode())
                return
            outputs, parts = [], []
            for wanted in request["outputs"]:
                values = triton.answer(given)[wanted["name"]]
                parts.append(packed(values))
                shape, kind = list(values.shape), np_to_triton_dtype(values.dtype)
                size = {"binary_data_size": len(parts[-1])}
                outputs.append({"name": wanted["name"], "datatype": kind, "shape": shape, "parameters": size})
            header = json.dumps({"model_name": "search", "model_version": "7", "outputs": outputs}).encode()
            self.reply(200, header + b"".join(parts), {"Inference-Header-Content-Length": str(len(header))})

        def reply(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    return Handler


class WebServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is none."""


@pytest.fixture
def triton() -> Iterator[SmallTriton]:
    small = SmallTriton()
    web = WebServer(("127.0.0.1", 0), web_handler(small))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server = grpc.server(ThreadPoolExecutor(16))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(small), server)
    small.ports = {"http": web.server_port, "grpc": server.add_insecure_port("127.0.0.1:0")}
    server.start()
    try:
        yield small
    finally:
        server.stop(None).wait()
        web.shutdown()
        thread.join()
        web.server_close()


SOFA = ("search", ("sofa",))


@dataclass
class Form:
    """One form of the client: a protocol, and whether it is asked by threads or by tasks."""

    protocol: str
    is_async: bool

    def url(self, port: int) -> str:
        return f"{self.protocol}://127.0.0.1:{port}"

    def ask(self, url: str, *questions: tuple[str, tuple[Any, ...]], **options: Any) -> list[Any]:
        """Return what one client answers to questions in turn, each a method's name and its arguments."""
        if not self.is_async:
            with SearchClient(url, **options) as client:
                return [getattr(client, name)(*arguments) for name, arguments in questions]

        async def ask() -> list[Any]:
            async with AsyncSearchClient(url, **options) as client:
                return [await getattr(client, name)(*arguments) for name, arguments in questions]

        return asyncio.run(ask())

    def asked(self, triton: SmallTriton, *questions: Any, **options: Any) -> list[Any]:
        """Return what a client answers that asks a small server, for a sofa where nothing else is said."""
        return self.ask(self.url(triton.ports[self.protocol]), *(questions or (SOFA,)), **options)


@pytest.fixture(
    params=[Form(protocol, is_async=is_async) for protocol in ("grpc", "http") for is_async in (False, True)],
    ids=["grpc", "grpc-async", "http", "http-async"],
)
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


@pytest.fixture(params=[Form("http", is_async=False), Form("http", is_async=True)], ids=["http", "http-async"])
def http_form(request: pytest.FixtureRequest) -> Form:
    """Return the forms over HTTP alone, for what is HTTP's."""
    found: Form = request.param
    return found


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

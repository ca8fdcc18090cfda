"""What holds in every form of the client: by threads and by tasks, over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from trident_client import (
    AsyncSearchClient,
    Behaviour,
    InvalidRequestError,
    NotAllowedError,
    RequestTimeoutError,
    SearchClient,
    ServerOverloadedError,
    ServerUnavailableError,
    UnexpectedAnswerError,
)
from trident_client.errors import STATUSES, translate_status

SOFA = ("search", ("sofa",))
TRITONS_HTTP = (400, 404, 409, 499, 500, 501, 503)  # of tritonserver 2.51's HTTP server, for its eight kinds of error
FORK = """
import asyncio, os, sys
from trident_client import AsyncSearchClient, InvalidRequestError, SearchClient
url, is_async = sys.argv[1], sys.argv[2] == "True"
if is_async:
    client = AsyncSearchClient(url, timeout_s=20)
    ask = lambda text: asyncio.run(client.search(text))
else:
    client = SearchClient(url, timeout_s=20)
    ask = client.search
assert ask("before").hits[0].title == "before"
child = os.fork()
if not child and is_async and url.startswith("grpc"):
    try:
        ask("after")
    except InvalidRequestError as error:
        assert "cannot be used in a process that was forked after its first use: fork first, or" in str(error)
        os._exit(0)
assert ask("after").hits[0].title == "after"
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.stdout.flush()
os._exit(0)
"""


def test_both_clients_have_the_same_methods() -> None:
    def methods(client: type) -> dict[str, Any]:
        found = {name: value for name, value in inspect.getmembers(client, inspect.isfunction) if name[0] != "_"}
        return {name: inspect.signature(value).replace(return_annotation=None) for name, value in found.items()}

    assert methods(SearchClient) == methods(AsyncSearchClient)
    assert {"upsert", "update", "delete", "write", "catalogue_stats"} <= methods(SearchClient).keys()
    assert inspect.signature(SearchClient) == inspect.signature(AsyncSearchClient)


def test_every_form_gives_the_same_answer(triton: Any, form: Any) -> None:
    queries = [f"Größe {number}" for number in range(130)]
    ready, info, many, vectors = form.asked(
        triton, ("is_ready", ()), ("server_info", ()), ("search_many", (queries,)), ("embed", (queries,))
    )
    assert ready
    assert (info.name, info.model_versions) == ("small", (7,))
    assert [result.query for result in many] == queries == [result.hits[0].title for result in many]
    assert {result.model_version for result in many} == {7}
    assert vectors[:, 0].tolist() == [len(query) for query in queries]
    assert vectors.dtype == np.float32
    sizes = [len(next(iter(each["tensors"].values()))) for each in triton.seen]
    assert sizes == [64, 64, 2, 64, 64, 2]


def test_an_answer_has_an_id_that_the_server_saw(triton: Any, form: Any) -> None:
    (results,) = form.asked(triton, ("search_many", (["sofa"] * 66,)))
    ids = [each["id"] for each in triton.seen]
    assert [result.id for result in results] == [f"{ids[row // 64]}-{row % 64}" for row in range(66)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert results[0] == results[1]  # two answers are equal whatever they are called


def test_what_passes_is_asked_again(triton: Any, form: Any) -> None:
    triton.orders.extend(["overloaded", "loading"])
    (result,) = form.asked(triton, behaviour=Behaviour(retries=2))
    assert result.hits[0].title == "sofa"
    assert len(triton.seen) == 3


def test_nothing_is_asked_again_unless_told(triton: Any, form: Any) -> None:
    triton.orders.append("overloaded")
    with pytest.raises(ServerOverloadedError, match=r"is overloaded: Exceeds maximum queue size; try again later$"):
        form.asked(triton)
    assert len(triton.seen) == 1


@pytest.mark.parametrize(
    ("order", "kind", "message"),
    [
        ("refused", InvalidRequestError, r"^k must be 1 to 3, got 9$"),
        ("broken", UnexpectedAnswerError, r"failed: (500|INTERNAL), the stub process is not healthy$"),
        (
            "guarded",
            NotAllowedError,
            r"does not let this client in: (401|UNAUTHENTICATED), who are you; pass Behaviour\(token=\.\.\.\), or Tls",
        ),
        (1.5, RequestTimeoutError, r"no answer from 127\.0\.0\.1:\d+ within 0\.5 s: try again, or raise timeout_s$"),
    ],
)
def test_what_does_not_pass_is_asked_once(triton: Any, form: Any, order: Any, kind: Any, message: str) -> None:
    triton.orders.append(order)
    limits = {"timeout_s": 0.5} if order == 1.5 else {}
    with pytest.raises(kind, match=message):
        form.asked(triton, behaviour=Behaviour(retries=5), **limits)
    assert len(triton.seen) == 1


def test_repeats_end_with_the_deadline(triton: Any, form: Any) -> None:
    triton.orders.extend(["overloaded"] * 50)
    start = time.monotonic()
    with pytest.raises((ServerOverloadedError, RequestTimeoutError)):
        form.asked(triton, timeout_s=0.6, behaviour=Behaviour(retries=10))
    assert time.monotonic() - start < 5
    assert 1 <= len(triton.seen) <= 8


def test_a_slow_answer_is_overtaken(triton: Any, form: Any) -> None:
    triton.orders.extend([10.0, None])
    start = time.monotonic()
    (result,) = form.asked(triton, timeout_s=20, behaviour=Behaviour(hedge_after_s=0.1))
    assert result.hits[0].title == "sofa"
    assert time.monotonic() - start < 9
    assert len(triton.seen) == 2


def test_a_quick_answer_is_not_hedged_and_an_error_is_one(triton: Any, form: Any) -> None:
    behaviour = Behaviour(hedge_after_s=5)
    assert form.asked(triton, behaviour=behaviour)[0].hits
    triton.orders.append("refused")
    with pytest.raises(InvalidRequestError, match=r"^k must be 1 to 3"):
        form.asked(triton, behaviour=behaviour)
    assert len(triton.seen) == 2


def test_headers_and_token_are_sent(triton: Any, form: Any) -> None:
    form.asked(triton, behaviour=Behaviour(headers={"X-Shop": "north"}, token="secret"))
    headers = triton.seen[0]["headers"]
    assert (headers["x-shop"], headers["authorization"]) == ("north", "Bearer secret")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "^retries must be 0 to 10, got -1$"),
        ({"retries": True}, "^retries must be 0 to 10, got True$"),
        ({"retries": 11}, "^retries must be 0 to 10, got 11$"),
        ({"hedge_after_s": 0}, "^hedge_after_s must be > 0, got 0$"),
        ({"hedge_after_s": float("nan")}, "^hedge_after_s must be > 0, got nan$"),
        ({"headers": {"a b": "x"}}, "^a header's name must be letters, digits and hyphens, got 'a b'$"),
        ({"headers": {1: "x"}}, "^a header's name must be letters, digits and hyphens, got 1$"),
        ({"headers": {"a": "x\ny"}}, "^the header a must be a line of ASCII, got str$"),
        ({"headers": {"a": b"x"}}, "^the header a must be a line of ASCII, got bytes$"),
        ({"token": ""}, r"^token must be ASCII without blanks, got something else \(not shown here\)$"),
        ({"token": "two words"}, "^token must be ASCII without blanks"),
        ({"token": "a\nb"}, "^token must be ASCII without blanks"),
    ],
)
def test_rules_of_behaviour(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        Behaviour(**options)
    assert "two words" not in str(caught.value)
    assert "secret" not in repr(Behaviour(token="secret"))


def test_many_threads_share_a_client(triton: Any) -> None:
    for protocol in ("grpc", "http"):
        url = f"{protocol}://127.0.0.1:{triton.ports[protocol]}"
        with SearchClient(url, timeout_s=30) as client, ThreadPoolExecutor(12) as threads:
            texts = [f"text {number}" for number in range(120)]
            found = list(threads.map(client.search, texts))
        assert [result.hits[0].title for result in found] == texts


def test_many_tasks_share_a_client(triton: Any) -> None:
    async def ask(protocol: str) -> None:
        texts = [f"text {number}" for number in range(120)]
        url = f"{protocol}://127.0.0.1:{triton.ports[protocol]}"
        async with AsyncSearchClient(url, timeout_s=30) as client:
            found = await asyncio.gather(*(client.search(text) for text in texts))
        assert [result.hits[0].title for result in found] == texts

    for protocol in ("grpc", "http"):
        asyncio.run(ask(protocol))


def test_connections_stay_open(triton: Any) -> None:
    before = threading.active_count()
    with SearchClient(f"http://127.0.0.1:{triton.ports['http']}") as client:
        for _ in range(20):
            client.search("sofa")
        assert threading.active_count() <= before + 1  # the server has a thread for each connection


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_another_event_loop_has_its_own_connections(triton: Any) -> None:
    for protocol in ("grpc", "http"):
        client = AsyncSearchClient(f"{protocol}://127.0.0.1:{triton.ports[protocol]}", timeout_s=20)
        for text in ("first", "second"):
            assert asyncio.run(client.search(text)).hits[0].title == text
        del client
    gc.collect()  # here, where it may warn: the first loop's connections were never closed


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_event_loops_that_ended_leave_no_connections(triton: Any, protocol: str) -> None:
    client = AsyncSearchClient(f"{protocol}://127.0.0.1:{triton.ports[protocol]}")

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def ask(loops: int) -> None:
        for _ in range(loops):
            asyncio.run(client.search("sofa"))
        gc.collect()

    async def close() -> None:
        await client.search("sofa")
        await client.close()
        await asyncio.sleep(0.05)  # in which the last connection goes

    ask(2)
    before, end = files(), time.monotonic() + 20
    ask(10)
    while files() > before + 1:  # the server, here in this process, closes its side a little later
        assert time.monotonic() < end
        time.sleep(0.05)
    asyncio.run(close())
    gc.collect()


def test_a_client_made_before_a_fork_works_after_it_or_says_so(triton: Any, form: Any) -> None:
    url = form.url(triton.ports[form.protocol])
    done = subprocess.run(
        [sys.executable, "-c", FORK, url, str(form.is_async)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(triton.seen) == (2 if form.is_async and form.protocol == "grpc" else 3)


def test_nobody_answers(form: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ServerUnavailableError, match=rf"no server answers at 127\.0\.0\.1:{port}: start one"):
        form.ask(form.url(port), SOFA, timeout_s=5)
    assert form.ask(form.url(port), ("is_ready", ()), timeout_s=5) == [False]


def test_a_port_that_never_answers(form: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        start = time.monotonic()
        with pytest.raises(RequestTimeoutError, match=rf"no answer from 127\.0\.0\.1:{port} within 0\.4 s"):
            form.ask(form.url(port), SOFA, timeout_s=0.4)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"\xff" * 64, b""])
def test_a_port_that_says_something_else(form: Any, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            server.settimeout(0.05)
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(2)
                    connection.recv(65536)
                    connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        start = time.monotonic()
        try:
            with pytest.raises((ServerUnavailableError, UnexpectedAnswerError, RequestTimeoutError)) as caught:
                form.ask(form.url(server.getsockname()[1]), SOFA, timeout_s=3)
        finally:
            stop.set()
            thread.join()
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_a_drip_ends_at_the_deadline(http_form: Any) -> None:
    """A server that sends a byte now and then keeps no wait short enough to end by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b" " * 200:
                    if stop.wait(0.05):
                        return
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        start = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            http_form.ask(http_form.url(server.getsockname()[1]), SOFA, timeout_s=0.5)
        assert time.monotonic() - start < 5
        stop.set()
        thread.join()


def test_a_closed_client_says_so(triton: Any, form: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^the client was closed: make a new one$"):
        form.asked(triton, ("close", ()), SOFA)


def test_every_status_has_a_meaning() -> None:
    assert {code.name for code in grpc.StatusCode} - {"OK"} <= STATUSES.keys()
    assert {str(status) for status in TRITONS_HTTP} <= STATUSES.keys()
    for status, kind in STATUSES.items():
        found = translate_status(status, "said so", "h:1", 2.0)
        assert type(found) is kind, status
        assert str(found)
    assert type(translate_status("418", "", "h:1", None)) is UnexpectedAnswerError
    large = "Received message larger than max (9 vs. 4)"
    assert type(translate_status("RESOURCE_EXHAUSTED", large, "h:1", None)) is InvalidRequestError


def test_http_goes_through_the_proxy_but_not_to_this_machine(
    triton: Any, http_form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC's own way with proxies: test_addresses."""
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{triton.ports['http']}")
    (result,) = http_form.ask("http://search.shop.invalid:8000", SOFA)
    assert result.hits[0].title == "sofa"
    headers = triton.seen[0]["headers"]
    assert headers["path"] == "http://search.shop.invalid:8000/v2/models/search/infer"
    assert headers["proxy-authorization"] == "Basic bWU6d29yZA=="
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert http_form.asked(triton)[0].hits
    assert triton.seen[1]["headers"]["path"] == "/v2/models/search/infer"

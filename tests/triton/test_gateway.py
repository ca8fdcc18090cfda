"""``trident gateway`` beside a tritonserver: the answers of the client, over plain HTTP and through the openai SDK."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openai
import pytest

from trident.server.server import TritonServer, free_ports
from trident_client import SearchClient

KEY = "a-key-of-some-length"
TEXTS = ["navy sofa", "ivory lamp", "Größe 4"]


@contextlib.contextmanager
def running(
    url: str,
    *arguments: str | Path,
    command: str = "gateway",
    says: str = "http://127.0.0.1:{port}: POST /search",
) -> Iterator[int]:
    """Yield the port of a gateway that is a process of its own."""
    (port,) = free_ports(1)
    started = [sys.executable, "-m", "trident", command, "--url", url, "--port", str(port), *map(str, arguments)]
    with subprocess.Popen(started, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert says.format(port=port) in process.stderr.readline()
            end = time.monotonic() + 60
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    if ask(port, "GET", "/healthz")[0] == 200:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def ask(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body=json.dumps(body), headers={"content-type": "application/json", **headers})
    reply = connection.getresponse()
    document = json.loads(reply.read())
    connection.close()
    return reply.status, document


def test_the_gateway_says_what_the_client_says(tiny_server: TritonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", "utf-8")
    with (
        running(f"grpc://{tiny_server.urls.grpc}", "--api-key-file", tmp_path / "key") as port,
        SearchClient(tiny_server.urls.grpc, timeout_s=60) as client,
    ):
        assert ask(port, "POST", "/search", {"query": "navy sofa"})[0] == 401
        status, found = ask(port, "POST", "/search", {"query": "navy sofa", "k": 5}, authorization=f"Bearer {KEY}")
        own = client.search("navy sofa", k=5)
        assert status == 200
        assert (found["generation"], found["model_version"]) == (own.generation, own.model_version)
        hits = found["hits"]
        assert isinstance(hits, list)
        assert [(hit["product_id"], hit["score"], hit["title"]) for hit in hits] == [
            (hit.product_id, hit.score, hit.title) for hit in own.hits
        ]
        status, said = ask(port, "POST", "/search", {"query": "x" * 10_001}, authorization=f"Bearer {KEY}")
        assert status == 400
        assert "query must have at most 10,000 bytes, got 10,001" in json.dumps(said)
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0) as sdk:
            for model, side in (("trident-query", "query"), ("trident-product", "product")):
                answer = sdk.embeddings.create(model=model, input=TEXTS)
                got = np.array([each.embedding for each in answer.data], dtype=np.float32)
                assert got.tobytes() == client.embed(TEXTS, side=side).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--url", "nowhere"), "url must be host:port"),
        (("--cors", "shop.example"), "an origin must be such as https://shop.example"),
        (("--api-key-file", os.devnull), "an API key must be 16 characters of ASCII or more"),
        (("--api-key-file", "/nowhere/key"), "--api-key-file must be a text file with one key, got /nowhere/key"),
        (("--retries", "11"), "retries must be 0 to 10, got 11"),
    ],
)
def test_what_the_command_refuses(
    run_trident: Callable[..., subprocess.CompletedProcess[str]], arguments: tuple[str, ...], message: str
) -> None:
    done = run_trident("gateway", *arguments)
    assert done.returncode == 2  # wrong usage
    (line,) = done.stderr.splitlines()
    assert message in line


def test_a_port_that_is_taken_is_told_in_a_line(run_trident: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("gateway", "ui"):
            done = run_trident(command, "--port", str(port))
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert f"must be an address of this machine where nobody listens, got 127.0.0.1:{port} (" in line
    assert "got 192.0.2.1:8080" in run_trident("gateway", "--host", "192.0.2.1").stderr


def test_the_page_is_served_by_a_command_of_its_own(
    tiny_server: TritonServer, run_trident: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_trident("ui", "--compare", "nowhere")
    assert done.returncode == 2
    assert "url must be host:port" in done.stderr
    with running(f"grpc://{tiny_server.urls.grpc}", command="ui", says="search at http://127.0.0.1:{port}/") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/")
        reply = connection.getresponse()
        assert (reply.status, reply.getheader("content-type")) == (200, "text/html; charset=utf-8")
        assert b"<title>Search - Trident</title>" in reply.read()
        connection.close()
        assert ask(port, "GET", "/about")[1] == {"attributes": [], "other": None, "suggests": True}

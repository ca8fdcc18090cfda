"""The client's four forms and the command line against one tritonserver: equal answers, and a server that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gateways import running as gateway
from hypothesis import given, settings
from hypothesis import strategies as st

from trident.generation.generation import find_generation
from trident.server.server import ServerUrls, TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import AsyncSearchClient, Behaviour, ClientError, SearchClient, ServerUnavailableError
from trident_gateway import GatewayConfig

QUERIES = [
    f"{colour} {thing} {size}" for colour in ("navy", "ivory") for thing in ("sofa", "lamp") for size in range(20)
]

Ask = Callable[..., Any]


@contextlib.contextmanager
def forms(urls: ServerUrls, **options: Any) -> Iterator[dict[str, Ask]]:
    """Yield what asks one client of each form: a method's name and its arguments."""
    with contextlib.ExitStack() as stack:
        asks: dict[str, Ask] = {}
        runner = stack.enter_context(asyncio.Runner())
        for url in (f"grpc://{urls.grpc}", f"http://{urls.http}"):
            client = stack.enter_context(SearchClient(url, **options))
            asks[url[:4]] = lambda name, *given, client=client, **more: getattr(client, name)(*given, **more)
            twin = AsyncSearchClient(url, **options)
            asks[f"{url[:4]}, async"] = lambda name, *given, twin=twin, **more: runner.run(
                getattr(twin, name)(*given, **more)
            )
            stack.callback(lambda twin=twin: runner.run(twin.close()))
        yield asks


def test_every_form_gives_the_same_answers(tiny_server: TritonServer) -> None:
    with forms(tiny_server.urls, timeout_s=60) as asks:
        found = {form: ask("search_many", QUERIES, k=5) for form, ask in asks.items()}
        vectors = {form: ask("embed", QUERIES, side="product") for form, ask in asks.items()}
        single = [asks["grpc"]("search", query, k=5) for query in QUERIES[:5]]
        assert {ask("server_info") for ask in asks.values()} == {asks["grpc"]("server_info")}
        assert all(ask("is_ready") for ask in asks.values())
    first = found["grpc"]
    assert len(first) == len(QUERIES) == 80
    for results in found.values():
        assert [result.query for result in results] == QUERIES
        for one, other in zip(results, first, strict=True):
            assert [hit.product_id for hit in one.hits] == [hit.product_id for hit in other.hits]
            assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], abs=1e-5)
    assert [result.hits[0].product_id for result in single] == [result.hits[0].product_id for result in first[:5]]
    for each in vectors.values():
        np.testing.assert_allclose(each, vectors["grpc"], atol=1e-5)


Found = list[tuple[str, float, str]]
typed = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
made = st.lists(st.sampled_from(["navy", "sofa", "ivory lamp", "kettle"]) | typed, min_size=1, max_size=4).map(" ".join)


def shown(result: Any) -> Found:
    return [(hit.product_id, hit.score, hit.title) for hit in result.hits]


def same(found: Found, expected: Found) -> bool:
    """Return whether two answers are one: a batch may round the last bits of a score in another way."""
    return [(pid, title) for pid, _, title in found] == [(pid, title) for pid, _, title in expected] and [
        score for _, score, _ in found
    ] == pytest.approx([score for _, score, _ in expected], abs=1e-5)


def test_whatever_is_asked_every_way_gives_the_same_answer(tiny_server: TritonServer) -> None:
    """Each form of the client alone and in a batch, the gateway, and the command line over what hypothesis made."""
    wanted: dict[str, Any] = {"k": 4, "options": {"spelling": False}}
    answers: dict[str, Found] = {}
    with (
        forms(tiny_server.urls, timeout_s=60) as asks,
        gateway(GatewayConfig(url=f"grpc://{tiny_server.urls.grpc}", timeout_s=60)) as port,
    ):

        @settings(max_examples=12, deadline=None, derandomize=True, database=None)
        @given(queries=st.lists(made, min_size=1, max_size=5, unique=True))
        def check(queries: list[str]) -> None:
            batch = [shown(each) for each in asks["grpc"]("search_many", queries, **wanted)]
            answers.update(zip(queries, batch, strict=True))
            for form, ask in asks.items():
                together = [shown(each) for each in ask("search_many", queries, **wanted)]
                alone = [shown(ask("search", query, **wanted)) for query in queries]
                for found in (together, alone):
                    assert all(map(same, found, batch)), (form, queries)
            vectors = asks["grpc"]("embed", queries)
            for form, ask in asks.items():
                singles = np.concatenate([ask("embed", [query]) for query in queries])
                for each in (ask("embed", queries), singles):
                    np.testing.assert_allclose(each, vectors, atol=1e-5, err_msg=f"{form} {queries}")
            for query in queries:
                body = json.dumps({"query": query, **wanted})
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("POST", "/search", body, {"content-type": "application/json"})
                hits = json.loads(connection.getresponse().read())["hits"]
                connection.close()
                assert same([(hit["product_id"], hit["score"], hit["title"]) for hit in hits], answers[query])

        check()
    assert len(answers) > 20
    url = f"http://{tiny_server.urls.http}"
    lines = rows_of(by_command(url, "\n".join(answers), "-k", "4", "--no-spelling"))
    assert [row["query"] for row in lines] == list(answers)
    for row in lines:
        found = [(hit["product_id"], hit["score"], hit["title"]) for hit in row["hits"]]
        assert same(found, answers[row["query"]]), row["query"]


def by_command(url: str, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trident", "search", "-", "--url", url, "--timeout", "60", *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)


def rows_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_command_line_answers_each_line(tiny_server: TritonServer) -> None:
    for url in (tiny_server.urls.grpc, f"http://{tiny_server.urls.http}"):
        done = by_command(url, "\n".join(["navy sofa", "", "ivory [bold]lamp"]), "-k", "3")
        assert [(row["line"], row["query"], len(row["hits"])) for row in rows_of(done)] == [
            (1, "navy sofa", 3),
            (3, "ivory [bold]lamp", 3),
        ]
        assert done.stderr.strip() == "2 queries were answered"


def test_a_line_that_the_server_refuses_is_named(tiny_server: TritonServer) -> None:
    done = by_command(tiny_server.urls.grpc, "x" * 10_001)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "query must have at most 10,000 bytes, got 10,001 (line 1 of standard input; 0 queries" in line


def test_a_server_that_goes_and_comes_back(tiny_generations: Path) -> None:
    """Clients that were made before live through it; meanwhile each question ends in time, with its error."""
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    generation = find_generation(tiny_generations)
    urls = ServerUrls(http=f"127.0.0.1:{http_port}", grpc=f"127.0.0.1:{grpc_port}", metrics="")
    with forms(urls, timeout_s=30, behaviour=Behaviour(retries=1)) as asks:
        with serve(generation, tiny_generations, options):
            assert all(ask("search", "navy sofa", k=3).hits for ask in asks.values())
        for form, ask in asks.items():
            start = time.monotonic()
            with pytest.raises(ServerUnavailableError):
                ask("search", "navy sofa")
            assert time.monotonic() - start < 25, form
            assert not ask("is_ready")
        with serve(generation, tiny_generations, options):
            for form, ask in asks.items():
                end = time.monotonic() + 60
                while not answers(ask) and time.monotonic() < end:  # gRPC waits a while before it connects again
                    time.sleep(0.5)
                assert ask("search", "navy sofa", k=3).hits, form


def answers(ask: Ask) -> bool:
    try:
        return bool(ask("search", "navy sofa", k=3).hits)
    except ClientError:
        return False

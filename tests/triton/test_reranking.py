"""A second stage on a real server: answers of both protocols are the searcher's, budgets cut, refusals, metrics."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trident.generation.generation import Generation
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import InvalidRequestError, SearchClient, SearchResult

WAIT_S = 30.0  # for metrics, which are handed over once a second


@pytest.fixture(scope="module")
def server(two_stages: Generation) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(two_stages, two_stages.folder.parent, options) as found:
        yield found


@pytest.fixture(scope="module")
def searcher(two_stages: Generation) -> Searcher:
    return Searcher.load(two_stages)


@pytest.fixture(params=["grpc", "http"])
def client(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[SearchClient]:
    with SearchClient(getattr(server.urls, request.param), protocol=request.param, timeout_s=60.0) as found:
        yield found


def expected(searcher: Searcher, query: str, knobs: SearchKnobs) -> tuple[list[str], dict[str, Any]]:
    hits = searcher.search([query], [knobs])
    return [each.decode() for each in hits.product_ids[0, : hits.counts[0, 0]]], json.loads(hits.details[0, 0])


def check(result: SearchResult, ids: list[str], details: dict[str, Any]) -> None:
    assert [hit.product_id for hit in result.hits] == ids
    assert result.details == details
    assert [hit.probability for hit in result.hits] == details["probability"]


def test_served_answers_are_the_searchers(client: SearchClient, searcher: Searcher, two_stages: Generation) -> None:
    queries = [answer.query for answer in two_stages.golden()][:6]
    for query in queries:
        check(client.search(query), *expected(searcher, query, SearchKnobs()))
        check(client.search(query, rerank=5, k=3), *expected(searcher, query, SearchKnobs(k=3, rerank=5)))
        check(client.search(query, rerank=0), *expected(searcher, query, SearchKnobs(rerank=0)))
        likely = SearchKnobs(k=20, rerank=0, min_probability=0.4)
        check(client.search(query, k=20, rerank=0, min_probability=0.4), *expected(searcher, query, likely))
    many = client.search_many(queries, options={"rerank": 7})
    assert [result.details["reranked"] for result in many] == [7] * len(queries)


def test_a_budget_cuts_what_comes_last(client: SearchClient, two_stages: Generation) -> None:
    """Not one pair is scored in a billionth of a second; a minute is enough for all of them."""
    query = two_stages.golden()[0].query
    assert client.search(query, rerank_budget_ms=1e-6).details["reranked"] == 0
    assert client.search(query, rerank_budget_ms=60_000).details["reranked"] == 12


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rerank": 201}, "'rerank' must be 0 to 200, got 201"),
        ({"rerank_budget_ms": 0.0}, "'rerank_budget_ms' must be above 0 milliseconds, got 0.0"),
        ({"min_probability": 1.5}, "'min_probability' must be 0 to 1, got 1.5"),
    ],
)
def test_what_is_out_of_range_is_refused(client: SearchClient, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        client.search("navy sofa", **asked)
    with pytest.raises(InvalidRequestError, match="rerank puts products in the order of a query, and"):
        client.search(like="0001", rerank=5)


def test_the_second_stage_is_counted(server: TritonServer, client: SearchClient) -> None:
    client.search("ivory kettle of the metrics", rerank=9)
    end = time.monotonic() + WAIT_S
    while min((shown := metrics(server))["trident_reranked_total"], shown["trident_rerank_pairs_total"]) < 1:
        assert time.monotonic() < end, shown
        time.sleep(0.5)
    assert shown["trident_rerank_seconds_total"] > 0
    assert shown["trident_rerank_cut_total"] >= 0


def metrics(server: TritonServer) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.urls.metrics}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        name, _, rest = line.partition("{")
        if name.startswith("trident_rerank"):
            found[name] = found.get(name, 0.0) + float(rest.rpartition(" ")[2])
    return found


def test_the_command_line_asks_for_it(
    server: TritonServer, run_warm: Callable[..., Any], two_stages: Generation
) -> None:
    query = two_stages.golden()[0].query
    done = run_warm(
        *("search", query, "--url", server.urls.grpc, "--rerank", "6", "--rerank-budget", "60000", "--json")
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["details"]["reranked"] == 6

"""The response cache changes no answer, whatever the knobs, before and after a promotion."""

from __future__ import annotations

import itertools
import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from trident.errors import GenerationError
from trident.generation.generation import Generation, Identity, generation_id, write_manifest
from trident.probe.golden_check import check_serving
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import InvalidRequestError, SearchClient, SearchResult

KNOBS = [
    {"k": k, "ef": ef, "min_score": min_score}
    for k, ef, min_score in itertools.product((1, 10, 50), (None, 10, 200), (None, 0.0, 0.7))
]
COLOURS = ("crimson", "navy", "olive", "ebony", "ivory")
THINGS = ("kettle", "toaster", "headphones", "laptop", "sofa", "lamp", "rake", "novel")
BRANDS = ("", "Alba ", "Borex ", "Cindra ", "cheap ")
QUERIES = [f"{brand}{colour} {thing}" for brand in BRANDS for colour in COLOURS for thing in THINGS]
ROWS = 50  # queries a request: one answer of the cache


@pytest.fixture(scope="module")
def servers(pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, TritonServer, TritonServer]]:
    """Return a pair of generations, a server of its generation a with a cache, and one without."""
    own = pair.copy(tmp_path_factory.mktemp("cache"))
    with ExitStack() as stack:
        started = []
        for cache in (2**26, None):
            http_port, grpc_port, metrics_port = free_ports(3)
            options = ServeOptions(
                http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, cache_size_bytes=cache
            )
            started.append(stack.enter_context(serve(own.a, own.folder, options)))
        yield own, started[0], started[1]


def answers(client: SearchClient) -> list[SearchResult]:
    """Return the results of 200 queries by every combination of knobs."""
    parts = [QUERIES[start : start + ROWS] for start in range(0, len(QUERIES), ROWS)]
    return [result for knobs in KNOBS for part in parts for result in client.search_many(part, **knobs)]


def hits_and_misses(server: TritonServer) -> tuple[int, int]:
    """Return how often the cache knew the answer, and how often not, by each generation's own ensemble."""
    with urllib.request.urlopen(f"http://{server.urls.http}/v2/models/stats") as answer:
        rows = [row for row in json.load(answer)["model_stats"] if row["name"].startswith("cached_")]
    hits, misses = (sum(row["inference_stats"][name]["count"] for row in rows) for name in ("cache_hit", "cache_miss"))
    return hits, misses


def check(cached: TritonServer, plain: TritonServer, generation: Any) -> None:
    hits, misses = hits_and_misses(cached)
    requests = len(KNOBS) * len(QUERIES) // ROWS
    with SearchClient(cached.urls.grpc, timeout_s=300) as client, SearchClient(plain.urls.grpc, timeout_s=300) as other:
        first, again, wanted = answers(client), answers(client), answers(other)
    assert hits_and_misses(cached) == (hits + requests, misses + requests)
    assert again == first  # to the last bit
    for got, expected in zip(first, wanted, strict=True):
        assert (got.query, got.generation, got.model_version) == (expected.query, generation.id, generation.serial)
        assert [hit.product_id for hit in got.hits] == [hit.product_id for hit in expected.hits]
        assert [hit.score for hit in got.hits] == pytest.approx([hit.score for hit in expected.hits], abs=1e-6)


def test_cached_answers_are_the_uncached_ones(servers: tuple[Any, TritonServer, TritonServer]) -> None:
    own, cached, plain = servers
    assert len(QUERIES) == 200
    check(cached, plain, own.a)
    for generation in (own.b, own.a, own.b):  # the second time with what the cache remembers of it
        for server in (cached, plain):
            options = PromoteOptions()
            promote(own.folder, server.config.http_port, generation.id, options, report=lambda _: None)
    check(cached, plain, own.b)


OUTPUTS = ("product_id", "score", "title", "count", "details", "generation")
ORDERS = [("title",), ("score", "details"), OUTPUTS, ("generation",), ("count", "product_id"), ()]  # (): all of them


def ask(server: TritonServer, protocol: str, query: str, wanted: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the outputs that were asked for, without our client, which always asks for all."""
    library: Any = triton_grpc if protocol == "grpc" else triton_http
    tensors = [library.InferInput("query", [1, 1], "BYTES"), library.InferInput("k", [1, 1], "INT64")]
    tensors[0].set_data_from_numpy(np.array([[query.encode()]], dtype=np.object_))
    tensors[1].set_data_from_numpy(np.array([[3]]))
    outputs = [library.InferRequestedOutput(name) for name in wanted] or None
    with library.InferenceServerClient(getattr(server.urls, protocol)) as connection:
        answer = connection.infer("search", tensors, outputs=outputs)
        found = {name: answer.as_numpy(name) for name in OUTPUTS}
    return {name: values.tolist() for name, values in found.items() if values is not None}


@pytest.mark.parametrize("protocols", [("grpc", "http"), ("http", "grpc")])
def test_everybody_gets_what_he_asks_for_in_every_order(
    servers: tuple[Any, TritonServer, TritonServer], protocols: tuple[str, str]
) -> None:
    """Each query is asked twice: by one protocol for some outputs, by another for others; the cache is asked once."""
    _, cached, plain = servers
    for number, (first, second) in enumerate(itertools.product(ORDERS, ORDERS)):
        query = f"{protocols[0]} first: olive lamp {number}"
        expected = ask(plain, "grpc", query, ())
        assert expected.keys() == set(OUTPUTS)
        hits, misses = hits_and_misses(cached)
        for protocol, wanted in zip(protocols, (first, second), strict=True):
            found = ask(cached, protocol, query, wanted)
            assert found.keys() == set(wanted or OUTPUTS)
            for name in found.keys() - {"score", "generation"}:
                assert found[name] == expected[name], (query, name)
            if "score" in found:
                np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)
        assert hits_and_misses(cached) == (hits + 1, misses + 1)


def test_a_client_is_answered_after_a_request_for_titles_alone(servers: tuple[Any, TritonServer, TritonServer]) -> None:
    _, cached, _ = servers
    for protocol in ("grpc", "http"):
        ask(cached, protocol, f"ebony rake by {protocol}", ("title",))
        with SearchClient(getattr(cached.urls, protocol), protocol=protocol, timeout_s=300) as client:  # type: ignore[arg-type]
            assert len(client.search(f"ebony rake by {protocol}", k=3).hits) == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_answer_of_the_cache_is_not_given_another_request_s_times(
    servers: tuple[Any, TritonServer, TritonServer], protocol: str
) -> None:
    _, cached, plain = servers
    query = f"navy laptop by {protocol}"
    for server, of_cache in ((cached, True), (plain, False)):
        with SearchClient(f"{protocol}://{getattr(server.urls, protocol)}", timeout_s=60) as client:
            untold = client.search(query)
            assert untold.timings_ms is None
            assert "timings_ms" not in untold.details
            first, again = client.search(query, timings=True), client.search(query, timings=True)
        assert first.timings_ms is not None
        assert {"tokenize", "encode", "dense", "rest"} <= first.timings_ms.keys()
        assert first.timings_ms["encode"] > 0
        assert (again.timings_ms is None) == of_cache
        assert (again.details == first.details) == of_cache  # what the cache kept, and whose it is
        assert again.hits == first.hits


def test_a_refusal_is_not_cached(servers: tuple[Any, TritonServer, TritonServer]) -> None:
    _, cached, _ = servers
    hits, _ = hits_and_misses(cached)
    with SearchClient(cached.urls.grpc, timeout_s=300) as client:
        for _ in range(3):
            with pytest.raises(InvalidRequestError, match=r"^options has no key 'colour' in this generation"):
                client.search("ebony novel", options={"colour": "red"})
    assert hits_and_misses(cached)[0] == hits


def test_golden_queries_are_never_answered_from_the_cache(servers: tuple[Any, TritonServer, TritonServer]) -> None:
    own, cached, _ = servers
    hits, misses = hits_and_misses(cached)
    for _ in range(3):
        assert check_serving(own.folder, cached.urls.http).passed
    assert hits_and_misses(cached) == (hits, misses + 3)


def of_another_id(generation: Generation) -> Generation:
    """Return a copy of a generation with another id and the same serial number, beside it."""
    parts = generation.manifest.parts | {"golden": "0" * 64}
    copy = shutil.copytree(generation.folder, generation.folder.with_name(generation_id(parts)))
    (copy / "manifest.json").unlink()
    for path in copy.rglob("generation.json"):
        replace(Identity.load(path.parent), id=copy.name).save(path.parent)
    write_manifest(copy, replace(generation.manifest, id=copy.name, parts=parts, files={}))
    return Generation.load(copy)


def test_a_serial_number_is_not_used_again(servers: tuple[Any, TritonServer, TritonServer]) -> None:
    """The cache remembers answers by it, also those of a generation that is loaded no longer."""
    own, cached, _ = servers
    port = cached.config.http_port

    def go_to(generation: Generation) -> None:
        promote(own.folder, port, generation.id, PromoteOptions(), report=lambda _: None)

    if check_serving(own.folder, cached.urls.http).generation == own.a.id:
        go_to(own.b)
    go_to(own.a)
    retire(own.folder, port, grace_s=0)
    again = of_another_id(own.b)
    message = f"generation {again.id} must have a serial number of its own, got {again.serial}, which is that of "
    with pytest.raises(GenerationError, match=f"{message}generation {own.b.id}, loaded since the server started"):
        go_to(again)
    assert check_serving(own.folder, cached.urls.http).generation == own.a.id

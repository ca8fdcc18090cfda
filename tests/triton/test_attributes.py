"""Attributes and filters on a real server: gRPC, HTTP and command line answer alike, as exact search does."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trident.generation.generation import find_generation
from trident.retrieval.options import SearchOptions, read_page
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import InvalidRequestError, SearchClient, SearchResult
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

BRANDS = ("Acme", "Größe", "")
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("navy sofa", {"filter": {"brand": "Acme"}, "fields": ["brand", "price"]}),
    ("navy sofa", {"filter": {"price": {"gte": 10, "lt": 60}, "not": {"brand": "Größe"}}, "k": 30}),
    ("crimson lamp", {"sort": "-price", "fields": ["price"], "offset": 5}),
    ("crimson lamp", {"group": "brand", "facets": ["brand", "price"], "filter": {"brand": {"exists": True}}}),
    ("", {"filter": {"in_stock": True}, "sort": "price", "k": 7, "offset": 7, "fields": ["price", "in_stock"]}),
    ("", {"like": "{first}", "fields": ["brand"], "k": 4}),
    ("", {"filter": {"brand": "nobody"}, "facets": ["brand"]}),
]


@pytest.fixture(scope="module")
def products(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny catalogue with a brand, a price, a stock and a link."""
    path = tmp_path_factory.mktemp("attributes") / "products.csv"
    with (tiny_data / "products.csv").open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    with path.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["product_id", "product_title", "brand", "price", "in_stock", "image", "any"])
        for number, row in enumerate(rows):
            more = [BRANDS[number % 3], number % 71 if number % 5 else "", str(number % 2 == 0).lower()]
            writer.writerow([row["product_id"], row["product_title"], *more, f"https://example.org/{number}", "x"])
    return path


@pytest.fixture(scope="module")
def generations(products: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attributes") / "generations"
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    stages: list[Any] = []
    export_generation(ExportOrder(tiny_run, products, folder, config), report=stages.append)
    line = next(stage.proof for stage in stages if stage.stage == "attributes")
    expected = r"brand keyword \(Acme, Größe, 48 missing\), price number \(0 to 70, 29 missing\), in_stock boolean .*"
    assert re.fullmatch(expected + r"image display \(given back, not searched\); left out: any", line), line
    return folder


@pytest.fixture(scope="module")
def server(generations: Path) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(find_generation(generations), generations, options) as found:
        yield found


def comparable(result: SearchResult) -> Any:
    hits = [(hit.product_id, round(hit.score, 5), hit.title, dict(hit.attributes)) for hit in result.hits]
    return hits, {**result.details}


def test_every_way_in_gives_the_same_answer(server: TritonServer, products: Path) -> None:
    with products.open(newline="", encoding="utf-8") as file:
        rows = {row["product_id"]: row for row in csv.DictReader(file)}
    first = next(iter(rows))
    with SearchClient(server.urls.grpc) as grpc, SearchClient(server.urls.http, protocol="http") as http:
        for query, given in ASKED:
            asked = {name: first if value == "{first}" else value for name, value in given.items()}
            result = grpc.search(query, **asked)
            assert comparable(result) == comparable(http.search(query, **asked))
            options = {name: value for name, value in asked.items() if name != "k"}
            assert comparable(result) == comparable(grpc.search(query, k=asked.get("k", 10), options=options))
            for hit in result.hits:
                row = rows[hit.product_id]
                assert {
                    name: "" if value is None else str(value).lower() for name, value in hit.attributes.items()
                } == {name: row[name].lower() for name in hit.attributes}
        filtered = grpc.search("navy sofa", filter={"brand": "Acme"}, k=200)
        assert {hit.product_id for hit in filtered.hits} == {
            product_id for product_id, row in rows.items() if row["brand"] == "Acme"
        }
        assert filtered.details == {"way": "all"}  # a third of the products
        whole = grpc.search("navy sofa", k=200)
        expected = [hit.product_id for hit in whole.hits if rows[hit.product_id]["brand"] == "Acme"]
        assert [hit.product_id for hit in filtered.hits] == expected
        browsed = grpc.search(filter={"in_stock": True}, sort="price", k=200)
        assert browsed.total == len(browsed.hits) == 72
        assert whole.details == {}
        assert first not in [hit.product_id for hit in grpc.search(like=first, k=200).hits]


def test_a_server_answers_as_the_parts_do(server: TritonServer, generations: Path) -> None:
    searcher = Searcher.load(find_generation(generations))
    page = read_page(SearchOptions(filter={"price": {"lt": 30}}), searcher.retriever.attributes)
    expected = searcher.search(["navy sofa"], [SearchKnobs(page=page)])
    with SearchClient(server.urls.grpc) as client:
        found = client.search("navy sofa", filter={"price": {"lt": 30}})
    ids = [product.decode() for product in expected.product_ids[0].tolist()]
    assert [hit.product_id for hit in found.hits] == ids


def test_the_command_line_asks_alike(server: TritonServer) -> None:
    def asked(*arguments: str) -> Any:
        command = [sys.executable, "-m", "trident", "search", *arguments, "--url", server.urls.grpc, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    short = asked(
        "navy sofa", "--where", "brand=Acme", "--where", "price<60", "--fields", "brand,price", "--facets", "brand"
    )
    with SearchClient(server.urls.grpc) as client:
        wanted = {"brand": "Acme", "price": {"lt": 60}}
        expected = client.search("navy sofa", filter=wanted, fields=["brand", "price"], facets=["brand"])
    assert [hit["product_id"] for hit in short["hits"]] == [hit.product_id for hit in expected.hits]
    assert short["hits"][0]["attributes"] == expected.hits[0].attributes
    assert short["details"] == expected.details
    both = asked("--filter", '{"in_stock": true}', "--where", "brand!=", "--sort=-price", "-k", "3", "--offset", "3")
    assert both["details"]["way"] == "browse"
    assert len(both["hits"]) == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_cannot_be_is_refused_in_one_line(server: TritonServer, protocol: Any) -> None:
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("sofa", {"filter": {"brnad": "Acme"}}, "filter has no field 'brnad' .did you mean 'brand'"),
        ("sofa", {"filter": {"brand": 7}}, "filter: brand is a keyword and takes a text, got 7"),
        ("sofa", {"filter": {"price": {"gte": 5, "lt": 1}}}, "filter.price must be a range that holds a number"),
        ("sofa", {"filter": {"brand": []}}, "filter.brand must name at least one value"),
        ("sofa", {"filter": {"image": "x"}}, "filter: image is for display only"),
        ("sofa", {"filter": {"any": "x"}}, "filter.any must be a list"),
        ("sofa", {"facets": ["image"]}, "facets.image is for display only"),
        ("sofa", {"sort": "colour"}, "sort has no field 'colour'"),
        ("sofa", {"group": "image"}, "group takes a keyword, number or boolean"),
        ("sofa", {"offset": 5000}, "offset and k together must be at most 1,000"),
        ("", {"like": "nobody"}, "like must be the id of a product"),
        ("sofa", {"like": "nobody"}, "like stands instead of a query"),
        ("sofa", {"filter": {"brand": "x" * 200_000}}, "options must have at most 100,000 bytes"),
    ]
    url = server.urls.grpc if protocol == "grpc" else server.urls.http
    with SearchClient(url, protocol=protocol) as client:
        for query, options, line in bad:
            with pytest.raises(InvalidRequestError, match=line):
                client.search(query, **options)
        with pytest.raises(InvalidRequestError, match="query must not be empty"):
            client.search("")
        with pytest.raises(InvalidRequestError, match="sort must be given by name or in options, got both"):
            client.search("sofa", sort="price", options={"sort": "brand"})
        assert client.search("sofa").hits


def test_ways_are_counted(server: TritonServer) -> None:
    with SearchClient(server.urls.grpc) as client:
        client.search("sofa", filter={"brand": "Acme"})
        client.search(sort="price")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        text = urllib.request.urlopen(f"http://{server.urls.metrics}/metrics", timeout=10).read().decode()
        counts: dict[str, float] = {}
        for way, amount in re.findall(r'trident_search_way_total\{[^}]*way="(\w+)"[^}]*\} (\S+)', text):
            counts[way] = counts.get(way, 0) + float(amount)
        if counts.get("all", 0) and counts.get("browse", 0):
            return
        time.sleep(0.2)
    pytest.fail(f"ways were not counted: {counts}")


def test_stages_filter_and_refuse_what_needs_no_query(generations: Path) -> None:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, variant="stages")
    with serve(find_generation(generations), generations, options) as stages, SearchClient(stages.urls.grpc) as client:
        result = client.search("navy sofa", filter={"brand": "Acme"}, fields=["brand"], facets=["price"])
        assert {hit.attributes["brand"] for hit in result.hits} == {"Acme"}
        with pytest.raises(InvalidRequestError, match="query must not be empty"):
            client.search(filter={"brand": "Acme"})
        with pytest.raises(InvalidRequestError, match="like is answered by the variant cpu alone"):
            client.search("sofa", like="p1")

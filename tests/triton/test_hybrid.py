"""Vectors and words on a real server: every way in gives the order that the parts give, and says how it came about."""

from __future__ import annotations

import csv
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_hybrid import PlainHybrid, made_queries, require_same_order

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.generation.generation import Generation, find_generation
from trident.probe.golden_check import check_golden
from trident.promotion.promotion import PromoteOptions, promote, rollback
from trident.retrieval.options import RankingKnobs
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import InvalidRequestError, SearchClient
from trident_export.config import ExportConfig, LexicalOptions, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

WEIGHT = 0.4
MORE = 1000  # products beside the tiny ones: more than both legs go to
THINGS = ("kettle", "toaster", "sofa", "lamp", "hub", "adapter", "grinder", "printer", "keyboard", "notebook")
KINDS = ("wireless", "compact", "usb-c", "stainless", "foldable", "dimmable", "usb-c wireless", "10 inch", "2.5 inch")


@pytest.fixture(scope="module")
def generation(tiny_data: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Return a generation whose products have model numbers, and words a weight."""
    folder = tmp_path_factory.mktemp("hybrid")
    with (tiny_data / "products.csv").open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["product_id", "product_title", "brand"])
        for number, row in enumerate(rows):
            title = f"{row['product_title']} KX-{1000 + number}T"
            writer.writerow([row["product_id"], title, title.split()[0]])
        draw = random.Random(7)
        for number in range(MORE):
            title = (
                f"Delmar {draw.choice(KINDS)} {draw.choice(THINGS)} {draw.choice('QRS')}V{number % 700}-{number % 9}"
            )
            writer.writerow([f"m{number}", title, "Delmar"])
    config = ExportConfig(
        threads=1, precision=PrecisionConfig(made=()), lexical=LexicalOptions(weight=WEIGHT, k1=0.3, b=0.6)
    )
    return export_generation(ExportOrder(tiny_run, folder / "products.csv", folder / "generations", config))


@pytest.fixture(scope="module")
def server(generation: Generation) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(generation, generation.folder.parent, options) as found:
        yield found


def ids(hits: Any) -> list[str]:
    return [hit.product_id for hit in hits]


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_served_answers_are_those_of_plain_python(
    server: TritonServer, generation: Generation, count: int, slow_seed: int
) -> None:
    """In ids, order, scores and what decided the order, in batches and one by one."""
    searcher = Searcher.load(generation)
    words = searcher.retriever.words
    assert words is not None
    catalogue = Catalogue.load(generation.version_folder("retriever") / CATALOGUE_FILE)
    ids_of, titles = list(catalogue.product_ids), list(catalogue.titles)
    bm25, settings = words.lexical.config.bm25, words.settings
    vectors = searcher.retriever.index.vectors(np.arange(len(titles)))
    plain = PlainHybrid(titles, vectors, words.lexical.analyzer, (bm25.k1, bm25.b), settings.depth)
    queries = made_queries(titles, count, random.Random(slow_seed if count == 1000 else 1))
    embedded = searcher.embed(queries)
    with (
        SearchClient(server.urls.grpc, timeout_s=60) as grpc,
        SearchClient(server.urls.http, protocol="http", timeout_s=60) as http,
    ):
        together = grpc.search_many(queries, k=10, mode="hybrid", spelling=False, explain=True)
        for row, (query, result) in enumerate(zip(queries, together, strict=True)):
            scores = [hit.score for hit in result.hits]
            expected = plain.answer(query, embedded[row], WEIGHT)
            require_same_order(ids(result.hits), scores, expected, ids_of, 1e-4)
            fused = [hit.explain["fused"] for hit in result.hits]
            np.testing.assert_allclose(fused, [each.fused for each in expected[: len(fused)]], atol=1e-4)
            alone = http.search(query, k=10, mode="hybrid", spelling=False, explain=True)
            assert ids(alone.hits) == ids(result.hits)
            np.testing.assert_allclose([hit.score for hit in alone.hits], scores, atol=1e-4)


def test_every_way_in_gives_the_order_of_the_parts(server: TritonServer, generation: Generation) -> None:
    searcher = Searcher.load(generation)
    queries = list(dict.fromkeys(answer.query for answer in generation.golden()))[:12]
    with (
        SearchClient(server.urls.grpc, timeout_s=60) as grpc,
        SearchClient(server.urls.http, protocol="http", timeout_s=60) as http,
    ):
        for mode in (None, "hybrid", "dense", "lexical"):
            knobs = [SearchKnobs(k=7, ranking=RankingKnobs(mode=mode))] * len(queries)
            expected = searcher.search(queries, knobs)
            together = grpc.search_many(queries, k=7, mode=mode)
            for row, query in enumerate(queries):
                products = [each.decode() for each in expected.product_ids[row].tolist() if each]
                alone = http.search(query, k=7, mode=mode)
                assert ids(together[row].hits) == ids(alone.hits) == products
                scores = [hit.score for hit in together[row].hits]
                np.testing.assert_allclose(scores, expected.scores[row, : len(scores)], atol=1e-4)
        whole = ids(grpc.search("navy sofa", k=60).hits)
        filtered = grpc.search("navy sofa", k=200, filter={"brand": "Alba"})
        assert len(filtered.hits) == 48
        assert {hit.title.split()[0] for hit in filtered.hits} == {"Alba"}
        assert ids(grpc.search("navy sofa", k=10, offset=10).hits) == whole[10:20]


def test_an_answer_says_how_it_came_about(server: TritonServer) -> None:
    with SearchClient(server.urls.grpc, timeout_s=60) as client:
        result = client.search("navy sofa", explain=True)
        fused = [hit.explain["fused"] for hit in result.hits]
        assert fused == sorted(fused, reverse=True)
        assert [hit.explain["cosine"] for hit in result.hits] == pytest.approx(
            [hit.score for hit in result.hits], abs=1e-5
        )
        for text in ("KX-1007T", "kx1007t", "kx 1007 t", "cheap kx-1007t please"):
            assert client.search(text, k=1).hits[0].title.endswith("KX-1007T")
        corrected = client.search("navy sofaa")
        assert corrected.corrected == "navy sofa"
        assert ids(corrected.hits) == ids(client.search("navy sofa").hits)
        assert client.search("navy sofaa", spelling=False).corrected is None
        with pytest.raises(InvalidRequestError, match="'mode' must be"):
            client.search("navy sofa", options={"mode": "sparse"})
        for text in ('"navy" -sofa', "navy:sofa", "(navy) AND NOT sofa*", "\\navy/sofa"):
            assert client.search(text, k=3).hits


def test_each_stage_is_timed_where_somebody_asks(server: TritonServer) -> None:
    with SearchClient(server.urls.grpc, timeout_s=60) as client:
        timings = client.search("navy sofaa", filter={"brand": "Alba"}, mode="hybrid", timings=True).timings_ms
    assert timings is not None
    assert set(timings) == {"spelling", "tokenize", "encode", "lexical", "dense", "fuse", "page", "rest"}
    assert list(timings)[-1] == "rest"
    assert min(timings.values()) >= 0
    command = [sys.executable, "-m", "trident", "search", "navy sofa", "--timings", "--url", server.urls.grpc]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert re.search(
        r"stages: spelling [\d.]+ ms, tokenize [\d.]+ ms, .*rest [\d.]+ ms", " ".join(shown.stderr.split())
    )


def test_the_command_line_asks_alike(server: TritonServer) -> None:
    command = [sys.executable, "-m", "trident", "search", "navy sofaa", "--url", server.urls.grpc]
    options = ["--mode", "lexical", "--explain", "-k", "3"]
    done = subprocess.run([*command, *options, "--json"], capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    with SearchClient(server.urls.grpc, timeout_s=60) as client:
        expected = client.search("navy sofaa", k=3, mode="lexical", explain=True)
    assert [hit["product_id"] for hit in found["hits"]] == ids(expected.hits)
    assert found["details"] == expected.details
    shown = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=120)
    assert "lexical_rank" in shown.stdout
    assert "searched instead: navy sofa" in shown.stderr + shown.stdout
    typed = subprocess.run(
        [*command, "--no-spelling", "--json"], capture_output=True, text=True, check=True, timeout=120
    )
    assert "corrected" not in json.loads(typed.stdout)["details"]


def test_golden_queries_are_asked_both_ways(server: TritonServer, generation: Generation) -> None:
    golden = generation.golden()
    assert any(answer.fused for answer in golden)
    by_vectors = [answer for answer in golden if answer.options]
    assert len(by_vectors) == sum(bool(answer.fused) for answer in golden)
    url = server.urls.http.removeprefix("http://")
    assert check_golden(url, generation).passed
    assert find_generation(generation.folder.parent).manifest.ranking["weight"] == WEIGHT


def test_words_go_with_their_generation_whatever_a_cache_knows(pair: Any, tmp_path: Path) -> None:
    """Promotion and rollback switch words, spelling and settings with the vectors; each knob has its own answer."""
    own = pair.copy(tmp_path)
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, cache_size_bytes=2**24)
    wanted: list[dict[str, Any]] = [
        *({"mode": mode, "explain": True} for mode in ("hybrid", "dense", "lexical")),
        *({"mode": "lexical", "spelling": spelling} for spelling in (True, False)),
    ]
    texts = ["navy sofa", "blue soffa", "borex lamp red"]

    def check(client: SearchClient, generation: Generation) -> None:
        searcher = Searcher.load(generation)
        for knobs in wanted:
            ranking = RankingKnobs(**knobs)
            expected = searcher.search(texts, [SearchKnobs(k=5, ranking=ranking)] * len(texts))
            for _ in range(2):  # the second from the cache
                found = client.search_many(texts, k=5, **knobs)
                assert {result.generation for result in found} == {generation.id}
                for row, result in enumerate(found):
                    products = [each.decode() for each in expected.product_ids[row].tolist() if each]
                    assert ids(result.hits) == products
                    assert result.details == json.loads(expected.details[row, 0])

    with serve(own.b, own.folder, options) as server, SearchClient(server.urls.grpc, timeout_s=60) as client:
        check(client, own.b)
        promote(own.folder, http_port, own.a.id, PromoteOptions(), report=lambda _: None)
        check(client, own.a)
        rollback(own.folder, http_port, report=lambda _: None)
        check(client, own.b)
        assert client.search("blue soffa", mode="lexical").corrected == "blue sofa"

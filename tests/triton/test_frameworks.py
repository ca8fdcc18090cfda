"""LangChain, LlamaIndex and Haystack against a real server with a live catalogue; the standard tests of LangChain."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from trident.generation.generation import find_generation
from trident.journal.folder import LiveFolder
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import SearchClient
from trident_client.frameworks import haystack, langchain, llama_index
from trident_client.frameworks.clients import Clients
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = ["navy sofa", "ivory lamp", "Größe 4"]
KEY = "TRIDENT_WRITE_KEY"


@pytest.fixture(scope="module")
def generations(tiny_run: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a generation of the tiny catalogue with the attributes of LangChain's standard tests."""
    folder = tmp_path_factory.mktemp("frameworks")
    with (tiny_data / "products.csv").open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["product_id", "product_title", "id", "some_other_field"])
        for number, row in enumerate(rows):
            writer.writerow([row["product_id"], row["product_title"], number, ("foo", "bar", "")[number % 3]])
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    export_generation(ExportOrder(tiny_run, folder / "products.csv", folder / "generations", config))
    return folder / "generations"


@pytest.fixture(scope="module")
def live(generations: Path) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, live=True)
    with serve(find_generation(generations), generations, options) as server:
        yield server


@pytest.fixture(params=["grpc", "http"])
def url(live: TritonServer, generations: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(KEY, LiveFolder.of(generations).key())
    return f"{request.param}://{getattr(live.urls, request.param)}"


class Loop:
    """One event loop for a test, in which the clients of what it keeps are closed at the end."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.clients: list[Clients] = []

    def keep(self, made: Any) -> Any:
        self.clients.append(getattr(made, "clients", None) or made._clients)
        return made


@pytest.fixture
def loop() -> Iterator[Loop]:
    with asyncio.Runner() as runner:
        found = Loop(runner)
        yield found
        for clients in found.clients:
            runner.run(clients.aclose())


def test_each_framework_finds_and_embeds_what_the_client_does(url: str, loop: Loop) -> None:
    with SearchClient(url, timeout_s=60) as client:
        own = client.search("navy sofa", k=3).hits
        query, titles = client.embed(TEXTS[:1])[0].tolist(), client.embed(TEXTS, side="product").tolist()
    store = loop.keep(langchain.TridentVectorStore(url, timeout_s=60))
    index = loop.keep(llama_index.TridentRetriever(url, k=3, timeout_s=60))
    hay = loop.keep(haystack.TridentRetriever(url, top_k=3, timeout_s=60))
    expected = [(hit.product_id, hit.title) for hit in own]
    scores = pytest.approx([hit.score for hit in own], abs=1e-5)

    async def awaited() -> tuple[object, ...]:
        return (
            await store.asimilarity_search_with_score("navy sofa", k=3),
            await index.aretrieve("navy sofa"),
            await hay.run_async("navy sofa"),
        )

    at_once = store.similarity_search_with_score("navy sofa", k=3), index.retrieve("navy sofa"), hay.run("navy sofa")
    for chain, nodes, found in (at_once, loop.run(awaited())):
        assert [(each.id, each.page_content) for each, _ in chain] == expected
        assert [score for _, score in chain] == scores
        assert [(node.node.node_id, node.text) for node in nodes] == expected
        assert [node.score for node in nodes] == scores
        assert [(each.id, each.content) for each in found["documents"]] == expected
    embeddings = loop.keep(langchain.TridentEmbeddings(url, timeout_s=60))
    embedder = loop.keep(haystack.TridentTextEmbedder(url, 60))
    assert embeddings.embed_query(TEXTS[0]) == pytest.approx(query, abs=1e-5)
    assert embedder.run(TEXTS[0])["embedding"] == pytest.approx(query, abs=1e-5)
    of_index = loop.keep(llama_index.TridentEmbedding(url=url, timeout_s=60)).get_text_embedding_batch(TEXTS)
    for one, other, wanted in zip(embeddings.embed_documents(TEXTS), of_index, titles, strict=True):
        assert one == pytest.approx(wanted, abs=1e-5)
        assert other == pytest.approx(wanted, abs=1e-5)


def test_unlike_documents_come_before_like_ones(url: str, loop: Loop) -> None:
    store = loop.keep(langchain.TridentVectorStore(url, timeout_s=60))
    best = store.similarity_search("navy sofa", k=20)
    spread = store.max_marginal_relevance_search("navy sofa", k=5, fetch_k=20, lambda_mult=0.1)
    assert {each.id for each in spread} <= {each.id for each in best}
    assert [each.id for each in spread] != [each.id for each in best[:5]]
    assert loop.run(store.amax_marginal_relevance_search("navy sofa", k=5, lambda_mult=0.1)) == spread
    assert store.max_marginal_relevance_search("navy sofa", k=1, lambda_mult=1.0)[0].id == best[0].id


def test_what_a_vector_store_adds_is_found_until_it_deletes_it(url: str, loop: Loop) -> None:
    store = loop.keep(langchain.TridentVectorStore(url, timeout_s=60))
    ids = store.add_documents([Document(page_content="Alba sofa navy 4711", metadata={"id": 7})])
    scored = store.similarity_search_with_relevance_scores("Alba sofa navy 4711", k=200)
    assert ids[0] in {each.id for each, _ in scored}
    assert all(0 <= score <= 1 for _, score in scored)
    loop.run(store.adelete(ids))
    assert ids[0] not in {each.id for each in store.similarity_search("Alba sofa navy 4711", k=200)}


def test_the_standard_tests_of_langchain_pass(live: TritonServer, generations: Path, tmp_path: Path) -> None:
    """Last: they want an empty catalogue."""
    with SearchClient(live.urls.grpc, timeout_s=60, write_key=LiveFolder.of(generations).key()) as client:
        client.delete(hit.product_id for hit in client.search("anything", k=1000).hits)
        assert client.search("anything").hits == ()
    command = [sys.executable, "-m", "pytest", "-v", "-rs", "-c", os.devnull, "--import-mode=importlib"]
    command += ["--noconftest", "-pno:cacheprovider", "-pno:benchmark", "-pno:codspeed", "-oasyncio_mode=auto"]
    command += ["-oasyncio_default_fixture_loop_scope=function", str(Path(__file__).with_name("langchain_suite.py"))]
    settings = {"TRIDENT_URL": live.urls.grpc, KEY: LiveFolder.of(generations).key()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | settings
    printed = tmp_path / "printed.txt"
    with printed.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as suite:
        try:
            suite.wait(timeout=500)
        finally:
            suite.kill()
    said = printed.read_text("utf-8")
    assert suite.returncode == 0, said
    passed = re.search(r"(\d+) passed", said.splitlines()[-1])
    assert passed
    assert int(passed[1]) >= 20, said


@pytest.mark.slow
@pytest.mark.parametrize("version", ["haystack-ai==2.31.*", "haystack-ai==3.4.*"])
def test_each_version_of_haystack(live: TritonServer, tmp_path: Path, version: str) -> None:
    """Each in an environment of its own; installs, so online."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(REPOSITORY / "client"), version],
        check=True,
        cwd=tmp_path,
    )
    done = subprocess.run(
        [python, "-I", "-c", OF_HAYSTACK, live.urls.grpc],
        cwd=tmp_path,
        env=os.environ | {"HAYSTACK_TELEMETRY_ENABLED": "False"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(version.partition("==")[2].removesuffix(".*"))


OF_HAYSTACK = """
import asyncio, haystack, inspect, sys
from haystack import Pipeline
from trident_client.frameworks.haystack import TridentRetriever, TridentTextEmbedder

url = sys.argv[1]
pipeline = Pipeline()
pipeline.add_component("retriever", TridentRetriever(url, top_k=2, timeout_s=60))
pipeline.add_component("embedder", TridentTextEmbedder(url, timeout_s=60))
needs = "allowed_modules" in inspect.signature(Pipeline.loads).parameters
read = Pipeline.loads(pipeline.dumps(), **({"allowed_modules": ["trident_client.*"]} if needs else {}))
assert read.to_dict() == pipeline.to_dict()
found = read.run({"retriever": {"query": "navy sofa"}, "embedder": {"text": "navy sofa"}})
assert len(found["embedder"]["embedding"]) == 32, found
awaited = asyncio.run(TridentRetriever(url, top_k=2, timeout_s=60).run_async("navy sofa"))
assert awaited == found["retriever"], (awaited, found)
print(haystack.__version__)
"""

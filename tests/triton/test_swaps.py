"""Promotions under eight clients, cache on: nothing fails, nothing is mixed, nothing is stale, memory stays."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from trident.bench.process_tree import tree_usage
from trident.probe.control import ModelControl
from trident.probe.running import find_running
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.search.searcher import Searcher
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import ClientError, SearchClient, SearchResult

pytestmark = pytest.mark.usefixtures("patient")  # no answer may fail, on a shared machine either

RELOADS_EVERY = 5  # promotions after which the old generation is unloaded, to be loaded again by the next
CLIENTS = ("grpc", "http") * 4
PAUSE_S = 0.01  # of a client between two queries: eight that never rest leave no time to promote on two cores
K = 5


@dataclass(frozen=True)
class Seen:
    """One answer, and when it was asked for and came."""

    asked_at: float
    came_at: float
    result: SearchResult


@dataclass
class Clients:
    """Eight clients that ask until they are stopped."""

    server: TritonServer
    queries: list[str]
    seen: list[Seen] = field(default_factory=list)
    failures: list[ClientError] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, protocol: Any, offset: int) -> None:
        with SearchClient(getattr(self.server.urls, protocol), protocol=protocol) as client:
            number = offset
            while not self.stopped.is_set():
                asked_at = time.monotonic()
                try:
                    result = client.search(self.queries[number % len(self.queries)], k=K)
                except ClientError as error:
                    self.failures.append(error)
                else:
                    self.seen.append(Seen(asked_at, time.monotonic(), result))
                number += 1
                time.sleep(PAUSE_S)

    def __enter__(self) -> Clients:
        self.threads = [
            threading.Thread(target=self.ask, args=(protocol, 5 * number)) for number, protocol in enumerate(CLIENTS)
        ]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def cache_hits(server: TritonServer) -> float:
    with urllib.request.urlopen(f"http://{server.urls.metrics}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("nv_cache_num_hits "))


@pytest.fixture(scope="module")
def own(pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pair.copy(tmp_path_factory.mktemp("swaps"))


@pytest.fixture(scope="module")
def server(own: Any) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(
        http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, cache_size_bytes=4 * 2**20
    )
    with serve(own.a, own.folder, options) as started:
        yield started


def test_the_folder_of_search_changes_after_its_step_is_loaded(
    server: TritonServer, own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton reloads dependents of a changed model with the configuration that they had: their folder must be that."""
    loads = []
    load = ModelControl.load

    def seen(control: ModelControl, model: str) -> None:
        folder = find_running(own.folder, server.config.http_port).folder.models / "search"
        loads.append((model, [int(path.name) for path in folder.iterdir() if path.is_dir()]))
        load(control, model)

    monkeypatch.setattr(ModelControl, "load", seen)
    for serving, other in ((own.a, own.b), (own.b, own.a)):
        loads.clear()
        promote(own.folder, server.config.http_port, other.id, PromoteOptions(), report=lambda _: None)
        assert (f"cached_{other.serial}", [serving.serial]) in loads
        assert [versions for model, versions in loads if model == "search"] == [[other.serial]]
        assert all(versions == [serving.serial] for model, versions in loads if model not in ("search", "embed"))


@pytest.mark.parametrize(
    "promotions",
    [pytest.param(12, id="twelve"), pytest.param(50, id="fifty", marks=pytest.mark.slow)],
)
def test_promotions_under_load(server: TritonServer, own: Any, promotions: int) -> None:
    queries = [answer.query for answer in own.a.golden()]
    right = {
        generation.id: {answer.query: answer for answer in Searcher.load(generation).answers(queries, k=K)}
        for generation in (own.a, own.b)
    }
    serving, served_from = own.a, [(own.a.id, time.monotonic(), time.monotonic())]
    memory, switches_ms = {}, []
    with Clients(server, queries) as clients:
        for number in range(1, promotions + 1):
            serving = own.other(serving)
            began = time.monotonic()
            made = promote(own.folder, server.config.http_port, serving.id, PromoteOptions(), report=lambda _: None)
            served_from.append((serving.id, began, time.monotonic()))
            switches_ms.append(made.switch_ms)
            if number in (3, promotions - 1):  # each time with both generations loaded
                memory[number] = tree_usage(server.pid).memory_mib
            if number % RELOADS_EVERY == 0:
                assert retire(own.folder, server.config.http_port, grace_s=0) == [own.other(serving).serial]
        time.sleep(0.5)
    assert clients.failures == []
    assert len(clients.seen) > 20 * promotions
    assert cache_hits(server) > 100
    for seen in clients.seen:
        result = seen.result
        answer = right[result.generation][result.query]
        assert [hit.product_id for hit in result.hits] == answer.product_ids  # of that generation, whole
        assert [hit.score for hit in result.hits] == pytest.approx(answer.scores, abs=1e-4)
        generation = own.a if result.generation == own.a.id else own.b
        assert result.model_version == generation.serial
    assert {seen.result.generation for seen in clients.seen} == {own.a.id, own.b.id}
    settled = between_promotions(clients.seen, served_from)
    assert len(settled) > promotions
    assert all(got == generation for generation, got in settled)
    assert sorted(switches_ms)[promotions // 2] < 1000  # the figure itself: bench/swaps.py
    assert memory[promotions - 1] <= 1.2 * memory[3]


def between_promotions(seen: list[Seen], served_from: list[tuple[str, float, float]]) -> list[tuple[str, str]]:
    """Return (right generation, got) of the answers that came wholly between two promotions."""
    found = []
    for number, (generation, _, done) in enumerate(served_from):
        ends = served_from[number + 1][1] if number + 1 < len(served_from) else float("inf")
        within = [each for each in seen if done < each.asked_at and each.came_at < ends]
        found += [(generation, each.result.generation) for each in within]
    return found

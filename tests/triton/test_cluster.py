"""Two real servers over one store: what one writes the other finds; promotions, an engine that ends, prunes."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

from trident.cluster.filling import load_generation, overview
from trident.cluster.store import Store
from trident.errors import StoreError
from trident.journal.folder import LiveFolder
from trident.probe.golden_check import check_serving
from trident.probe.health import HealthServer
from trident.promotion.promotion import PromoteOptions, promote, retire, rollback
from trident.promotion.retention import prune
from trident.retrieval.options import RankingKnobs
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_knobs
from trident.rules.applying import apply_rules
from trident.rules.ruleset import RuleSet, RulesFile, parse_rules
from trident.search.searcher import Searcher, answers_of
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import (
    CatalogueStoppedError,
    ClientError,
    InvalidRequestError,
    SearchClient,
    SearchResult,
    ServerOverloadedError,
    ServerUnavailableError,
)

pytestmark = pytest.mark.usefixtures("patient")  # no answer may fail, on a shared machine either

PAUSE_S = 0.02  # of a client between two queries
K = 5
DEADLINE_S = 5.0  # of a search while the engine is away: the store's time and some for two shared cores


@pytest.fixture(scope="module")
def own(pair: Any, stand_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return two generations in the stand-in, of which the second is not loaded yet."""
    made = pair.copy(tmp_path_factory.mktemp("cluster"))
    made = type(made)(made.folder, *(stand_in.takes(each, timeout_s=2.0) for each in (made.a, made.b)))
    load_generation(made.a)
    return made


def start(own: Any, *, live: bool) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, live=live)
    with serve(own.a, own.folder, options) as started:
        yield started


@pytest.fixture(scope="module")
def leader(own: Any) -> Iterator[TritonServer]:
    """Return the server that writes; its promotions need no gate."""
    yield from start(own, live=True)


@pytest.fixture(scope="module")
def reader(own: Any, leader: TritonServer) -> Iterator[TritonServer]:
    """Return a server that knows no log: it has the generation and the store's address."""
    yield from start(own, live=False)


@pytest.fixture(scope="module")
def writes(own: Any, leader: TritonServer) -> Iterator[SearchClient]:
    with SearchClient(leader.urls.grpc, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as made:
        yield made


@pytest.fixture(scope="module")
def reads(reader: TritonServer) -> Iterator[SearchClient]:
    with SearchClient(reader.urls.http, protocol="http", timeout_s=60) as made:
        yield made


def ids_of(result: SearchResult) -> list[str]:
    return [hit.product_id for hit in result.hits]


def found(client: SearchClient, query: str, k: int = 10) -> list[str]:
    return ids_of(client.search(query, k=k))


def test_answers_are_those_of_the_files(reads: SearchClient, own: Any) -> None:
    for answer in Searcher.load(own.a).answers(["crimson kettle", "navy sofa", "chrome lamp"], k=K):
        result = reads.search(answer.query, k=K)
        assert [hit.product_id for hit in result.hits] == answer.product_ids
        assert [hit.score for hit in result.hits] == pytest.approx(answer.scores, abs=1e-5)
        assert result.generation == own.a.id
        assert result.details["sequence"] == 0
    with pytest.raises(InvalidRequestError, match=r"^like must be the id of a product of generation"):
        reads.search("", options={"like": "nobody"})
    local = Searcher.load(own.a)
    for options in ({"mode": "lexical"}, {"mode": "hybrid"}, {"mode": "dense"}, {"filter": {"brand": "Alba"}}):
        knobs = KnobTensors(k=np.array([[K]]), options=np.array([[json.dumps(options).encode()]], dtype=np.object_))
        hits = local.search(["navy sofa"], read_knobs(knobs, 1, local.retriever.attributes))
        assert [each.encode() for each in ids_of(reads.search("navy sofa", k=K, options=options))] == [
            each for each in hits.product_ids[0].tolist() if each
        ]


def test_words_and_rules_hold_on_every_server(own: Any, writes: SearchClient, reads: SearchClient) -> None:
    writes.upsert([{"id": "named", "title": "zeppelin QX-7001B"}])
    for client in (writes, reads):
        assert ids_of(client.search("qx7001b", k=3))[0] == "named"
        assert ids_of(client.search("zepelin", k=3, options={"mode": "lexical"})) == ["named"]  # it is corrected
        assert ids_of(client.search("navy sofa", k=3))[0] != "named"
    found = parse_rules({"pins": [{"queries": ["navy sofa"], "products": ["named"]}]}, "rules")
    apply_rules(own.folder, found, "rules.toml")
    for client in (writes, reads):
        result = client.search("navy sofa", k=3)
        assert ids_of(result)[0] == "named"
        assert result.details["rules"]["pins"] == 1
        assert ids_of(client.search("navy sofa", k=3, rules=False))[0] != "named"
    apply_rules(own.folder, RulesFile(RuleSet()), "empty.toml")
    writes.delete(["named"])
    for client in (writes, reads):
        assert ids_of(client.search("qx7001b", k=3, options={"mode": "lexical"})) == []


@pytest.mark.parametrize(
    "trials", [pytest.param(15, id="few"), pytest.param(1000, id="thousand", marks=pytest.mark.slow)]
)
def test_what_one_server_wrote_the_other_finds(writes: SearchClient, reads: SearchClient, trials: int) -> None:
    for number in range(trials):
        written = writes.upsert([{"id": "seen", "title": f"alba rake {number}"}])
        result = reads.search(f"alba rake {number}", k=3)
        assert ("seen", f"alba rake {number}") in [(hit.product_id, hit.title) for hit in result.hits]
        assert result.details["sequence"] >= written.number
    writes.delete(["seen"])
    assert "seen" not in found(reads, "alba rake 0")


def ready(address: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://{address}/ready") as answer:
            document: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        document = json.load(error)
    return document


def wait_until(wanted: bool, address: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while (document := ready(address))["ready"] is not wanted:
        assert time.monotonic() < deadline, document
        time.sleep(0.2)
    return document


def test_an_engine_that_ends_is_said_in_time_and_loses_nothing(
    own: Any, reader: TritonServer, writes: SearchClient, reads: SearchClient, stand_in: Any
) -> None:
    writes.upsert([{"id": "kept", "title": "borex novel 77"}])
    with HealthServer(
        "127.0.0.1", 0, partial(check_serving, own.folder, reader.urls.http, switch_s=0.5), period_s=0.5
    ) as health:
        wait_until(True, health.address)
        stand_in.kill()
        began = time.monotonic()
        with (
            SearchClient(reader.urls.grpc, timeout_s=30) as once,
            pytest.raises((ServerOverloadedError, ServerUnavailableError), match=r"the store http://.* is away"),
        ):
            once.search("borex novel 77")
        assert time.monotonic() - began < DEADLINE_S
        with pytest.raises(CatalogueStoppedError, match=r"nothing was written: the store .* is away"):
            writes.delete(["kept"])
        assert any("is away" in reason for reason in wait_until(False, health.address)["reasons"])
        stand_in.start()
        wait_until(True, health.address)
    assert "kept" in found(reads, "borex novel 77")
    assert writes.delete(["kept"]).done == 1
    assert "kept" not in found(reads, "borex novel 77")


@dataclass
class Clients:
    """Eight clients of two servers that ask until they are stopped."""

    urls: list[tuple[Any, str]]
    queries: list[str]
    seen: list[SearchResult] = field(default_factory=list)
    failures: list[ClientError] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, protocol: Any, url: str, offset: int) -> None:
        with SearchClient(url, protocol=protocol, timeout_s=60) as client:
            number = offset
            while not self.stopped.is_set():
                try:
                    self.seen.append(client.search(self.queries[number % len(self.queries)], k=K, mode="dense"))
                except ClientError as error:
                    self.failures.append(error)
                number += 1
                time.sleep(PAUSE_S)

    def __enter__(self) -> Clients:
        self.threads = [
            threading.Thread(target=self.ask, args=(*self.urls[number % len(self.urls)], 5 * number))
            for number in range(8)
        ]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def test_what_is_not_loaded_is_not_promoted_and_no_reader_before_the_writer(
    own: Any, leader: TritonServer, reader: TritonServer, writes: SearchClient
) -> None:
    with pytest.raises(StoreError, match=rf"must have the 144 products of generation {own.b.id}, got 0: trident cl"):
        promote(own.folder, leader.config.http_port, own.b.id, PromoteOptions(), report=lambda _: None)
    load_generation(own.b)
    writes.upsert([{"id": "numbered", "title": "zzz"}])
    written = writes.delete(["numbered"]).number
    with pytest.raises(StoreError, match=rf"must go to number {written} in its store, as {own.a.id} does, got 0: prom"):
        promote(own.folder, reader.config.http_port, own.b.id, PromoteOptions(), report=lambda _: None)


@pytest.mark.parametrize(
    "promotions",
    [pytest.param(3, id="three"), pytest.param(50, id="fifty", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_promotions_under_load_lose_nothing(
    own: Any, leader: TritonServer, reader: TritonServer, writes: SearchClient, reads: SearchClient, promotions: int
) -> None:
    load_generation(own.b)  # where the test above did not run
    queries = [answer.query for answer in own.a.golden()][:20]
    # By vectors: what comes meanwhile shifts the others' ranks, by which words and vectors are joined here.
    knobs = [SearchKnobs(k=K, ranking=RankingKnobs(mode="dense"))] * len(queries)
    right = {
        each.id: {answer.query: answer for answer in answers_of(queries, Searcher.load(each).search(queries, knobs))}
        for each in (own.a, own.b)
    }
    serving = own.a
    urls = [("grpc", leader.urls.grpc), ("http", leader.urls.http)]
    with Clients(urls, queries) as clients:
        for number in range(1, promotions + 1):
            before, serving = serving, own.other(serving)
            title = f"zzz {number}"  # far from what is asked
            writes.upsert([{"id": f"meanwhile-{number}", "title": title}])
            promote(own.folder, leader.config.http_port, serving.id, PromoteOptions(), report=lambda _: None)
            writes.upsert([{"id": f"after-{number}", "title": title}])
            for client, generation in ((writes, serving), (reads, own.a if number % 2 else before)):
                if client is reads and reads.search(title).generation != generation.id:
                    continue  # it follows below
                assert {f"meanwhile-{number}", f"after-{number}"} <= set(found(client, title, k=300))
            promote(own.folder, reader.config.http_port, serving.id, PromoteOptions(), report=lambda _: None)
            assert {f"meanwhile-{number}", f"after-{number}"} <= set(found(reads, title, k=300))
            writes.delete([f"meanwhile-{number}", f"after-{number}"])
            assert not [each for each in found(reads, title, k=300) if each.endswith(f"-{number}")]
            if number % 5 == 0:
                retire(own.folder, leader.config.http_port, grace_s=0)
                retire(own.folder, reader.config.http_port, grace_s=0)
    assert clients.failures == []
    assert len(clients.seen) > 5 * promotions
    sequences: dict[int, int] = {}
    for result in clients.seen:
        answer = right[result.generation][result.query]
        ids = [hit.product_id for hit in result.hits if "-" not in hit.product_id]
        assert ids == answer.product_ids[: len(ids)]  # of that generation, whole
        assert len(ids) >= K - 2
        sequences[result.details["sequence"]] = 1
    assert len(sequences) > 1
    if promotions % 2:
        rollback(own.folder, leader.config.http_port, report=lambda _: None)
        rollback(own.folder, reader.config.http_port, report=lambda _: None)
    assert reads.search("crimson kettle").generation == own.a.id


def test_a_pruned_generation_leaves_no_collection(own: Any, pair: Any, stand_in: Any, tmp_path: Any) -> None:
    assert {row["generation"]: row["state"] for row in overview(own.folder)} == {
        own.a.id: "complete",
        own.b.id: "complete",
    }
    folder = tmp_path / "generations"
    copy = pair.copy(folder)
    Store(address=stand_in.address).save(copy.b.version_folder("retriever"))  # the older one
    stand_in.kill()
    with pytest.raises(StoreError, match="is away"):
        prune(folder, keep=1)
    assert copy.b.folder.is_dir()
    stand_in.start()
    assert prune(folder, keep=1) == [copy.b.id]
    states = {row["generation"]: row["state"] for row in overview(own.folder)}
    assert states == {own.a.id: "complete", own.b.id: "not loaded"}

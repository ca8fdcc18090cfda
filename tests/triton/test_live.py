"""A live catalogue behind a real server: what was answered is found, in every process, after kills and promotions."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from trident.commands.catalogue import _promote_compacted
from trident.errors import ConfigError, LiveError, LogError
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.promotion.promotion import PromoteOptions, promote, rollback
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import AsyncSearchClient, ClientError, InvalidRequestError, SearchClient, WriteKeyError

TITLE = "Alba kettle red"


@pytest.fixture(scope="module")
def live(own) -> Iterator[TritonServer]:
    """Return a server with a live catalogue that starts with generation a; its promotions need no gate."""
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, live=True)
    with serve(own.a, own.folder, options) as started:
        yield started


@pytest.fixture(params=["grpc", "http"])
def client(live, own, request) -> Iterator[SearchClient]:
    url = live.urls.grpc if request.param == "grpc" else live.urls.http
    with SearchClient(url, protocol=request.param, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as made:
        yield made


def found(client: SearchClient, query: str, k: int = 300) -> dict[str, str]:
    return {hit.product_id: hit.title for hit in client.search(query, k=k).hits}


def test_a_search_after_an_upsert_was_answered_sees_it(client):
    for number in range(20):
        written = client.upsert([{"id": f"new-{number}", "title": f"{TITLE} {number}"}])
        result = client.search(TITLE, k=300)
        assert f"new-{number}" in {hit.product_id for hit in result.hits}
        assert result.details["sequence"] >= written.number
    written = client.delete([f"new-{number}" for number in range(20)])
    assert written.done == 20
    assert not [product for product in found(client, TITLE) if product.startswith("new-")]


def test_a_product_of_the_base_is_replaced_deleted_and_comes_back(client):
    before = found(client, TITLE)
    assert len(before) == 144
    product = client.search(TITLE, k=1).hits[0].product_id
    client.upsert([{"id": product, "title": "something else"}])
    assert found(client, TITLE) == before | {product: "something else"}
    client.delete([product])
    assert product not in found(client, TITLE)
    client.upsert([{"id": product, "title": before[product]}])
    assert found(client, TITLE) == before


def test_a_late_delivery_is_stale_and_an_unknown_product_is_said(client):
    own = f"versioned-{client.catalogue_stats()['number']}"  # each protocol has its own
    client.upsert([{"id": own, "title": TITLE, "version": 5}])
    assert client.upsert([{"id": own, "title": "old", "version": 4}]).stale == (own,)
    with pytest.raises(InvalidRequestError, match=r"product 'nowhere': the catalogue has no field 'price'"):
        client.update([{"id": "nowhere", "attributes": {"price": 1}}])
    assert client.delete([own, "nowhere"]).unknown == ("nowhere",)
    assert client.upsert([{"id": own, "title": "late", "version": 3}]).stale == (own,)
    client.upsert([{"id": own, "title": "late", "version": 6}])
    client.delete([own])


def test_the_metrics_say_how_far_writer_and_readers_are(client, live):
    client.upsert([{"id": "measured", "title": TITLE}])
    number = client.delete(["measured"]).number
    deadline, wanted = time.monotonic() + 15, {"trident_catalogue_number", "trident_catalogue_sequence"}
    while True:
        with urllib.request.urlopen(f"http://{live.urls.metrics}/metrics") as answer:
            lines = re.findall(r"^(trident_catalogue_\w+)\{[^}]*\} (\S+)$", answer.read().decode(), re.MULTILINE)
        reached = {name for name, value in lines if float(value) >= number}
        if wanted <= reached:
            break
        assert time.monotonic() < deadline, lines
        time.sleep(0.5)
    others = {"trident_catalogue_tail", "trident_catalogue_tail_limit", "trident_catalogue_stopped"}
    assert {name for name, _ in lines} == wanted | others | {"trident_catalogue_operations_total"}


def test_a_compaction_that_a_promotion_overtook_does_not_undo_it(live, own):
    words = rf"generation made was made of before and is not promoted: {own.a.id} serves meanwhile; compact again"
    with pytest.raises(LiveError, match=words):
        _promote_compacted(own.folder, live.config.http_port, "before", "made")


@pytest.mark.parametrize("key", [None, "wrong"])
def test_nobody_writes_without_the_key(live, client, key):
    number = client.catalogue_stats()["number"]
    with (
        SearchClient(live.urls.grpc, write_key=key) as other,
        pytest.raises(WriteKeyError, match=r"needs the write key, got none|must be that of the folder"),
    ):
        other.delete(["a0001"])
    assert client.catalogue_stats()["number"] == number


@pytest.mark.parametrize("asked", [{"query": "alba", "offset": 3}, {"query": "", "like": "0003"}])
def test_a_page_is_refused(client, asked):
    with pytest.raises(InvalidRequestError, match=r"'(offset|like)' is not answered over a live catalogue: compact it"):
        client.search(**asked)


def test_a_search_for_asyncio_writes_too(live, own):
    async def write() -> tuple[int, dict[str, Any]]:
        async with AsyncSearchClient(live.urls.grpc, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as client:
            written = await client.upsert([{"id": "for-asyncio", "title": TITLE}])
            assert (await client.delete(["for-asyncio", "nowhere"])).unknown == ("nowhere",)
            return written.number, await client.catalogue_stats()

    number, stats = asyncio.run(write())
    assert stats["number"] == number + 1


def test_a_bad_operation_writes_nothing_of_its_request(client):
    number = client.catalogue_stats()["number"]
    with pytest.raises(
        InvalidRequestError, match=r"operation 2 of 2, product 'y': the title of an upsert must be text"
    ):
        client.upsert([{"id": "x", "title": "good"}, {"id": "y"}])
    assert client.catalogue_stats()["number"] == number


def test_a_second_server_over_the_folder_is_refused(live, own):
    ports = free_ports(3)
    options = ServeOptions(http_port=ports[0], grpc_port=ports[1], metrics_port=ports[2], live=True)
    with pytest.raises(LogError, match=r"another server writes to .*\.live"), serve(own.a, own.folder, options):
        pass


def test_serving_without_live_over_a_log_that_goes_beyond_is_refused(live, own, client):
    client.upsert([{"id": "x", "title": "a title"}])
    ports = free_ports(3)
    options = ServeOptions(http_port=ports[0], grpc_port=ports[1], metrics_port=ports[2])
    with (
        pytest.raises(LogError, match=r"and generation \w+ to 0: serve it with --live, or what was deleted"),
        serve(own.a, own.folder, options),
    ):
        pass
    client.delete(["x"])


def test_what_excludes_a_live_catalogue_is_refused():
    with pytest.raises(ConfigError, match=r"--cache and --live exclude each other"):
        ServeOptions(cache_size_bytes=1, live=True)
    with pytest.raises(ConfigError, match=r"--live needs --variant cpu, got stages"):
        ServeOptions(variant="stages", live=True)


def test_promotion_and_rollback_lose_nothing_and_bring_nothing_back(live, own, client):
    port = live.config.http_port
    product = client.search(TITLE, k=1).hits[0].product_id
    client.delete([product])
    client.upsert([{"id": "kept", "title": TITLE}])
    number = 0
    for wanted in ("b", "a"):
        target = getattr(own, wanted).id
        promote(own.folder, port, target, PromoteOptions(), report=lambda _: None)
        result = client.search(TITLE, k=400)
        assert result.generation == target
        ids = {hit.product_id for hit in result.hits}
        assert "kept" in ids
        assert product not in ids
        assert result.details["sequence"] >= number
        number = client.upsert([{"id": f"after-{wanted}", "title": TITLE}]).number
        assert f"after-{wanted}" in found(client, TITLE, 400)
    rollback(own.folder, port, report=lambda _: None)
    assert {"kept", "after-a", "after-b"} <= set(found(client, TITLE, 400))
    promote(own.folder, port, own.a.id, PromoteOptions(), report=lambda _: None)
    client.delete(["kept", "after-a", "after-b"])
    client.upsert([{"id": product, "title": TITLE}])


class Model:
    """Random operations, and the dictionary that the catalogue must equal afterwards."""

    def __init__(self, seed: int, base: dict[str, str]) -> None:
        self.draw, self.truth = random.Random(seed), dict(base)
        self.ids = [*base, *(f"n{number}" for number in range(60))]
        self.in_flight: list[dict[str, str]] = []

    def operations(self) -> list[dict[str, str]]:
        chosen = self.draw.sample(self.ids, self.draw.randint(1, 12))
        return [self.operation(product) for product in chosen]

    def operation(self, product: str) -> dict[str, str]:
        if self.draw.random() < 0.4 and product in self.truth:
            return {"op": "delete", "id": product}
        return {"op": "upsert", "id": product, "title": f"{TITLE} {self.draw.randrange(200)}"}

    def apply(self, operations: list[dict[str, str]], truth: dict[str, str]) -> None:
        for operation in operations:
            if operation["op"] == "delete":
                truth.pop(operation["id"], None)
            else:
                truth[operation["id"]] = operation["title"]

    def write(self, client: SearchClient) -> None:
        self.in_flight = self.operations()
        client.write(self.in_flight)
        self.apply(self.in_flight, self.truth)
        self.in_flight = []

    def check(self, client: SearchClient) -> None:
        """The catalogue equals the dictionary, with what was in flight as a whole or not at all."""
        there = found(client, TITLE, 1000)
        with_it = dict(self.truth)
        self.apply(self.in_flight, with_it)
        assert there in (self.truth, with_it)
        self.truth, self.in_flight = there, []


@contextmanager
def served(folder: Path, generation: str) -> Iterator[tuple[int, str]]:
    """Run ``trident serve --live``; yield its HTTP port and gRPC address."""
    ports = free_ports(3)
    names = ("--http-port", "--grpc-port", "--metrics-port")
    options = [text for name, port in zip(names, ports, strict=True) for text in (name, str(port))]
    command = [sys.executable, "-m", "trident", "serve", "--live", "--generations", folder, "--generation", generation]
    process = subprocess.Popen([*command, *options, "--start-timeout", "400"], start_new_session=True)
    try:
        yield ports[0], f"127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        process.wait(60)


def wait_until(folder: ServingFolder, dead: int) -> int:
    """Return the PID of a tritonserver that is ready and another than one that died."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        record = folder.server()
        if record is not None and record.tritonserver_pid != dead:
            return record.tritonserver_pid
        time.sleep(0.1)
    raise AssertionError("the server did not come back")


def run_model(folder: Path, generation: str, *, seed: int, operations: int, kills: int) -> None:
    with served(folder, generation) as (http_port, url):
        serving = ServingFolder.of(folder, http_port)
        pid = wait_until(serving, 0)
        key = LiveFolder.of(folder).key()
        with SearchClient(url, timeout_s=60) as reader:
            model = Model(seed, found(reader, TITLE, 1000))
        for life in range(kills + 1):
            with SearchClient(url, write_key=key, timeout_s=60) as client:
                model.check(client)
                for _ in range(operations // 6 // (kills + 1)):
                    model.write(client)
                model.check(client)
                if life == kills:
                    return
                model.in_flight = model.operations()
                with suppress(ClientError):
                    killing = subprocess.Popen(["sh", "-c", f"sleep 0.00{model.draw.randrange(10)}; kill -9 {pid}"])
                    client.write(model.in_flight)
                    model.apply(model.in_flight, model.truth)
                    model.in_flight = []
                killing.wait()
            pid = wait_until(serving, pid)


def test_after_kills_the_catalogue_equals_a_dictionary(pair, tmp_path):
    copy = pair.copy(tmp_path)
    seed = int(os.environ["TRIDENT_TEST_SEED"])
    run_model(copy.folder, copy.a.id, seed=seed, operations=800, kills=2)


@pytest.mark.slow
def test_after_many_kills_the_catalogue_equals_a_dictionary(pair, tmp_path, slow_seed):
    copy = pair.copy(tmp_path)
    run_model(copy.folder, copy.a.id, seed=slow_seed, operations=50_000, kills=30)

"""An hour of everything on a live catalogue: nothing fails, no answer is wrong, and nothing grows.

``TRIDENT_SOAK_MINUTES`` says another time, ``TRIDENT_SOAK_FILE`` where the samples are written, one JSON object a line;
``bench/soak.py`` draws them. ``TRIDENT_SOAK_SHARED=1`` says that others have the cores: searches that the server
refuses because they would wait too long, and promotions that end as they began because the server did not reply in
time, are told, and no failure.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from trident.bench.process_tree import tree_usage
from trident.compaction.compact import Makers, compact, is_compacted
from trident.errors import GenerationError, ServerError
from trident.generation.generation import generation_by_id
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.promotion.retention import prune
from trident.quality.measuring import measure_quality
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import ClientError, SearchClient, ServerOverloadedError

TITLE = "Alba kettle red"
MINUTES = float(os.environ.get("TRIDENT_SOAK_MINUTES", "60"))
SHARED = bool(os.environ.get("TRIDENT_SOAK_SHARED"))
FILE = os.environ.get("TRIDENT_SOAK_FILE")
SAMPLES = 60  # of the whole time
SWITCHES = 12  # compactions and promotions, likewise
GROWTH = 1.05  # of the last quarter over the one before


def sample(pid: int) -> dict[str, float]:
    """Return what a server with all its processes has of the machine."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    mapped = {each.path for process in family for each in process.memory_maps() if each.path.startswith("/dev/shm/")}
    shared = sum(Path(path).stat().st_size for path in mapped if Path(path).is_file())
    return {
        "pss_mib": tree_usage(pid).memory_mib,
        "threads": sum(each.num_threads() for each in family),
        "files": sum(each.num_fds() for each in family),
        "shared_mib": shared / 2**20,
    }


class Readers:
    """Clients that search until told to end, and what was wrong with their answers."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.faults: list[str] = []
        self.searches = self.refused = 0
        self.ending = threading.Event()
        self.threads = [
            threading.Thread(target=self._watched, args=(ask, protocol, url))
            for protocol, url in urls.items()
            for ask in (self._searches, self._filters, self._browses)
        ]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _watched(self, ask: Callable[[SearchClient], Any], protocol: Any, url: str) -> None:
        number = -1
        with SearchClient(url, protocol=protocol, timeout_s=60) as client:
            while not self.ending.is_set():
                try:
                    result = ask(client)
                    assert result.details["sequence"] >= number, "the number fell"
                    number = result.details["sequence"]
                    self.searches += 1
                except ServerOverloadedError:  # where others have the cores
                    self.refused += 1
                except (ClientError, AssertionError, LookupError) as error:
                    self.faults.append(f"{ask.__name__} by {protocol}: {type(error).__name__}: {error}")
                time.sleep(0.02)

    def _searches(self, client: SearchClient) -> Any:
        result = client.search(TITLE, k=50, mode="dense")  # in the order of the scores
        scores = [hit.score for hit in result.hits]
        assert scores == sorted(scores, reverse=True)
        assert len({hit.product_id for hit in result.hits}) == 50
        return result

    def _filters(self, client: SearchClient) -> Any:
        result = client.search(TITLE, k=100, filter={"stock": {"lt": 3}}, fields=["stock"], facets=["brand"])
        assert all(hit.attributes["stock"] < 3 for hit in result.hits)
        return result

    def _browses(self, client: SearchClient) -> Any:
        result = client.search(filter={"brand": "Alba"}, sort="-stock", fields=["brand", "stock"], k=100)
        assert {hit.attributes["brand"] for hit in result.hits} <= {"Alba"}
        stocks = [hit.attributes["stock"] for hit in result.hits]
        there = [stock for stock in stocks if stock is not None]
        assert stocks == sorted(there, reverse=True) + [None] * (len(stocks) - len(there))
        return result


def write(client: SearchClient, draw: random.Random, truth: dict[str, float]) -> None:
    """Upsert, update and delete a few products, as the dictionary says afterwards."""
    ids = [f"n{number}" for number in draw.sample(range(200), 8)]
    stocks = {product: float(draw.randrange(6)) for product in ids}
    upserts = [product for product in ids if product not in truth or draw.random() < 0.5]
    updates = [product for product in ids if product not in upserts]
    titled = f"{TITLE} {draw.randrange(100)}"
    client.upsert([{"id": each, "title": titled, "attributes": {"stock": stocks[each]}} for each in upserts])
    client.update([{"id": each, "attributes": {"stock": stocks[each]}} for each in updates])
    truth |= stocks
    gone = [product for product in truth if draw.random() < 0.03]
    client.delete(gone)
    for product in gone:
        del truth[product]


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 1800)
def test_nothing_fails_and_nothing_grows(pair, tmp_path, slow_seed):
    copy, draw, truth = pair.copy(tmp_path), random.Random(slow_seed), dict[str, float]()
    ports = free_ports(3)
    options = ServeOptions(http_port=ports[0], grpc_port=ports[1], metrics_port=ports[2], live=True)
    samples: list[dict[str, float]] = []
    with serve(copy.a, copy.folder, options) as server:
        state, urls = ServingFolder.of(copy.folder, ports[0]), {"grpc": server.urls.grpc, "http": server.urls.http}
        with (
            Readers(urls) as readers,
            SearchClient(server.urls.grpc, write_key=LiveFolder.of(copy.folder).key(), timeout_s=60) as client,
        ):
            began, changed, put_back = time.monotonic(), 0, 0
            while (passed := time.monotonic() - began) < 60 * MINUTES:
                write(client, draw, truth)
                if passed * SAMPLES / (60 * MINUTES) >= len(samples) + 1:
                    samples.append({"minutes": passed / 60, "searches": readers.searches, **sample(server.pid)})
                    if FILE:
                        Path(FILE).write_text("".join(json.dumps(each) + "\n" for each in samples))
                if passed * SWITCHES / (60 * MINUTES) >= changed + 1:  # a compaction, or to what was exported
                    changed += 1
                    serving = generation_by_id(copy.folder, state.state().serving)
                    target = (copy.b, copy.a)[changed // 3 % 2]  # of different encoders
                    if changed % 3:
                        target = compact(copy.folder, serving, Makers(measure_quality))
                    try:
                        promote(copy.folder, ports[0], target.id, PromoteOptions(), report=lambda _: None)
                    except GenerationError:
                        if not SHARED:
                            raise
                        put_back += 1
                    with suppress(ServerError):  # unloading takes longer than a minute where much else is done
                        retire(copy.folder, ports[0], grace_s=0)
                    prune(copy.folder, keep=1, only=is_compacted)
                time.sleep(0.02)
            there = client.search(filter={"stock": {"exists": True}}, k=1000, fields=["stock"]).hits
    assert not readers.faults, (len(readers.faults), readers.faults[:3])
    assert readers.searches > 10 * MINUTES
    told = f"{readers.searches:,} searches, {readers.refused:,} refused as too many, {changed} switches"
    sys.stdout.write(f"{told}, {put_back} of them put back\n")
    assert SHARED or readers.refused <= readers.searches // 1000
    assert changed - put_back >= 3
    found = {hit.product_id: hit.attributes["stock"] for hit in there if hit.product_id.startswith("n")}
    assert found == truth
    quarter = len(samples) // 4
    for name in ("pss_mib", "threads", "files", "shared_mib"):
        values = [each[name] for each in samples]
        third, last = float(np.mean(values[-2 * quarter : -quarter])), float(np.mean(values[-quarter:]))
        assert last <= GROWTH * third, (name, third, last)

"""A live catalogue after kills, and behind two servers: it equals a dictionary of what was answered.

``TRIDENT_MODEL_OPERATIONS`` says another number of operations for the long form; kills come in proportion.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from live_servers import pid_of_another, served

from trident.compaction.compact import Makers, compact
from trident.errors import ServerError, TridentError
from trident.generation.generation import generation_by_id
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.processes.model_processes import children, model_of
from trident.promotion.promotion import PromoteOptions, promote, retire, rollback
from trident.quality.measuring import measure_quality
from trident.server.models import CATALOGUE
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import CatalogueFollowsError, ClientError, SearchClient

TITLE = "Alba kettle red"
Row = tuple[str, str | None, float | None]  # title, brand, stock
Whole = Callable[[SearchClient], dict[str, Row]]
KINDS = ("promote", "compact", "rollback", "none")
OPERATIONS = int(os.environ.get("TRIDENT_MODEL_OPERATIONS", "50000"))
KILLS = max(10, 32 * OPERATIONS // 50_000)
BACK_S = 900.0  # where much else is done
OF_A_REQUEST = 6.5  # operations, on average
WITHIN_SWITCH_S = 4.0  # after which the server is killed in the middle of a promotion
DEATHS, WITHIN_S = 3, 400.0  # of the server: a supervisor gives up at five in five minutes


class Model:
    """Random operations, and the dictionary that the catalogue must equal afterwards."""

    def __init__(self, seed: int, whole: Whole, client: SearchClient) -> None:
        self.whole, base = whole, whole(client)
        self.draw, self.truth = random.Random(seed), dict(base)
        self.changes: dict[str, Row | None] = {}  # since the log began; None: deleted
        self.ids = [*base, *(f"n{number}" for number in range(60))]
        self.in_flight: list[dict[str, Any]] = []

    def operations(self, most: int = 12) -> list[dict[str, Any]]:
        chosen = self.draw.sample(self.ids, self.draw.randint(1, most))
        return [self.operation(product) for product in chosen]

    def operation(self, product: str) -> dict[str, Any]:
        kind = self.draw.random()
        if kind < 0.3 and product in self.truth:
            return {"op": "delete", "id": product}
        attributes = {"brand": self.draw.choice(("Alba", "Later", None)), "stock": self.draw.randrange(6)}
        if kind < 0.6 and product in self.truth:
            return {"op": "update", "id": product, "attributes": attributes}
        title = f"{TITLE} {self.draw.randrange(200)}"
        return {"op": "upsert", "id": product, "title": title, "attributes": attributes}

    def apply(self, operations: list[dict[str, Any]], truth: dict[str, Row]) -> dict[str, Row | None]:
        """Change a dictionary as operations do, and return what they changed."""
        changes: dict[str, Row | None] = {}
        for operation in operations:
            product = operation["id"]
            if operation["op"] == "delete":
                changes[product] = None
                truth.pop(product, None)
            else:
                title = operation.get("title") or truth[product][0]
                truth[product] = (title, operation["attributes"]["brand"], operation["attributes"]["stock"])
                changes[product] = truth[product]
        return changes

    def write(self, client: SearchClient) -> None:
        self.in_flight = self.operations()
        client.write(self.in_flight)
        self.written()

    def written(self) -> None:
        self.changes |= self.apply(self.in_flight, self.truth)
        self.in_flight = []

    def check(self, client: SearchClient) -> None:
        """The catalogue equals the dictionary, with the first few operations of what was in flight, each whole."""
        there, was = self.whole(client), dict(self.truth)
        waiting, self.in_flight = self.in_flight, []
        for operation in waiting:
            if there == self.truth:
                break
            self.changes |= self.apply([operation], self.truth)
        assert there == self.truth, (sorted(there.items() ^ was.items())[:10], waiting)

    def goes_over_to(self, base: dict[str, Row]) -> None:
        """Another generation serves: its products, and what was written."""
        kept = {product: row for product, row in (base | self.changes).items() if row is not None}
        self.truth = kept


class Switches:
    """Promotions, rollbacks and compactions of a running server, and the products of each generation.

    Args:
        pair: A copy, of which a serves.
        http_port: Of the server.
        base: The products of a.
    """

    def __init__(self, pair: Any, http_port: int, base: dict[str, Row]) -> None:
        self.folder, self.http_port = pair.folder, http_port
        self.state = ServingFolder.of(pair.folder, http_port)
        b = {f"b{product[1:]}": row for product, row in base.items()}
        self.bases, self.exported = {pair.a.id: dict(base), pair.b.id: b}, (pair.a.id, pair.b.id)
        self.done: Counter[str] = Counter()

    def make(self, kind: str, model: Model) -> None:
        before = self.serving()
        if kind == "compact" and model.changes:
            made = compact(self.folder, generation_by_id(self.folder, before), Makers(measure_quality))
            self.bases[made.id] = dict(model.truth)
            promote(self.folder, self.http_port, made.id, PromoteOptions(), report=lambda _: None)
        elif kind == "promote":
            other = next(each for each in self.exported if each != before)
            promote(self.folder, self.http_port, other, PromoteOptions(), report=lambda _: None)
        elif kind == "rollback" and self.state.state().previous is not None:
            rollback(self.folder, self.http_port, report=lambda _: None)
        self.done[kind] += self.serving() != before
        with suppress(ServerError):  # unloading takes longer than a minute where much else is done
            retire(self.folder, self.http_port, grace_s=0)
        model.goes_over_to(self.bases[self.serving()])

    def serving(self) -> str:
        state = self.state.state()
        assert state is not None
        return state.serving


def writer_of(folder: ServingFolder, server: int) -> int:
    """Return the PID of the process that writes, as soon as there is one: it may just be starting again."""
    deadline = time.monotonic() + BACK_S
    while time.monotonic() < deadline:
        found = [model_of(pid, folder.models.resolve()) for pid in children(server)]
        for each in found:
            if each is not None and each.model == CATALOGUE:
                return each.pid
        time.sleep(0.1)
    raise AssertionError("no process of the server writes")


def wait_for_writer(client: SearchClient) -> None:
    """Return when the catalogue has a process again that writes."""
    deadline = time.monotonic() + BACK_S
    while time.monotonic() < deadline:
        with suppress(ClientError):
            client.catalogue_stats()
            return
        time.sleep(0.2)
    raise AssertionError("the writer did not come back")


class Killer:
    """Kills the server or its writer while a request is under way."""

    def __init__(self, folder: ServingFolder) -> None:
        self.folder, self.server, self.deaths = folder, pid_of_another(folder, 0, within_s=BACK_S), list[float]()
        self.killed = dict.fromkeys(("server", "writer", "promoting"), 0)

    def kill(self, client: SearchClient, model: Model) -> None:
        """Send a request, kill somewhere in it, and return when all is there again."""
        of_server, most, wait_ms = model.draw.random() < 0.5, model.draw.choice((12, 60)), model.draw.randrange(80)
        done = sum(self.killed.values())
        of_server = (done == 0 if done < 2 else of_server) and self.may_die()  # each once at least
        self.killed["server" if of_server else "writer"] += 1
        pid = self.server if of_server else writer_of(self.folder, self.server)
        model.in_flight = model.operations(most)
        with subprocess.Popen(["sh", "-c", f"sleep {wait_ms / 1000}; kill -9 {pid}"]), suppress(ClientError):
            client.write(model.in_flight)
            model.written()
        if of_server:
            self._wait()

    def kill_within(self, switches: Switches, kind: str, model: Model) -> None:
        """Begin a promotion, rollback or compaction, kill the server in it, and return when one is there again."""
        self.killed["promoting"] += 1
        wait_s = model.draw.random() * WITHIN_SWITCH_S
        with subprocess.Popen(["sh", "-c", f"sleep {wait_s}; kill -9 {self.server}"]), suppress(TridentError):
            switches.make(kind, model)
        self._wait()
        model.goes_over_to(switches.bases[switches.serving()])

    def may_die(self) -> bool:
        """Whether the server may be killed once more before its supervisor gives up."""
        self.deaths = [at for at in self.deaths if at > time.monotonic() - WITHIN_S]
        return len(self.deaths) < DEATHS

    def _wait(self) -> None:
        self.deaths.append(time.monotonic())
        self.server = pid_of_another(self.folder, self.server, within_s=BACK_S)


def run_model(pair: Any, whole: Whole, *, seed: int, operations: int, kills: int) -> None:
    folder, requests = pair.folder, round(operations / OF_A_REQUEST / (kills + 1))
    with served(folder, pair.a.id) as (http_port, url):
        serving = ServingFolder.of(folder, http_port)
        killer, key = Killer(serving), LiveFolder.of(folder).key()
        with SearchClient(url, timeout_s=60) as reader:
            model = Model(seed, whole, reader)
        switches = Switches(pair, http_port, model.truth)
        for life in range(kills + 1):
            with SearchClient(url, write_key=key, timeout_s=60) as client:
                wait_for_writer(client)
                model.check(client)
                for _ in range(requests):
                    model.write(client)
                model.check(client)
                kind = KINDS[life] if life < len(KINDS) else model.draw.choice(KINDS[:3])
                if life >= len(KINDS) and model.draw.random() < 0.4 and killer.may_die():
                    killer.kill_within(switches, kind, model)
                    wait_for_writer(client)
                else:
                    switches.make(kind, model)
                for _ in range(5):
                    model.write(client)
                model.check(client)
                if life < kills:
                    killer.kill(client, model)
        assert min(killer.killed["server"], killer.killed["writer"]) > 0, killer.killed
        sys.stdout.write(f"seed {seed}: killed {killer.killed}, made {dict(switches.done)}\n")


@pytest.mark.timeout(2400)  # on a machine with much else to do
def test_after_kills_the_catalogue_equals_a_dictionary(pair, tmp_path, whole_catalogue):
    seed = int(os.environ["TRIDENT_TEST_SEED"])
    run_model(pair.copy(tmp_path), whole_catalogue, seed=seed, operations=2_000, kills=4)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_after_many_kills_the_catalogue_equals_a_dictionary(pair, tmp_path, slow_seed, whole_catalogue):
    run_model(pair.copy(tmp_path), whole_catalogue, seed=slow_seed, operations=OPERATIONS, kills=KILLS)


@pytest.mark.timeout(1200)
def test_a_second_server_follows_and_takes_over(pair, tmp_path, whole_catalogue):
    copy, (first, second) = pair.copy(tmp_path), (free_ports(3), free_ports(3))
    ports = ("http_port", "grpc_port", "metrics_port")
    leading = ServeOptions(**dict(zip(ports, first, strict=True)), live=True)
    following = ServeOptions(**dict(zip(ports, second, strict=True)), live=True, follow=True)
    key = {"write_key": None, "timeout_s": 60}
    with ExitStack() as servers:
        leader = servers.enter_context(serve(copy.a, copy.folder, leading))
        key["write_key"] = LiveFolder.of(copy.folder).key()
        with serve(copy.a, copy.folder, following) as follower, SearchClient(follower.urls.grpc, **key) as client:
            with SearchClient(leader.urls.grpc, **key) as writer:
                for number in range(10):
                    row = {"id": "shared", "title": f"{TITLE} {number}", "attributes": {"stock": number}}
                    written = writer.upsert([row])
                    result = client.search(TITLE, k=300, filter={"stock": number, "brand": {"missing": True}})
                    assert [hit.title for hit in result.hits] == [f"{TITLE} {number}"]
                    assert result.details["sequence"] >= written.number
                with pytest.raises(CatalogueFollowsError, match=rf"follows {leader.urls.grpc}: write there"):
                    client.upsert([{"id": "refused", "title": TITLE}])
                with pytest.raises(CatalogueFollowsError, match=rf"{leader.urls.grpc} still writes: stop it"):
                    client.take_over()
                there = whole_catalogue(client)
                assert there == whole_catalogue(writer)
            servers.close()
            assert client.take_over()["number"] == written.number
            client.delete(["shared"])
            del there["shared"]
            assert whole_catalogue(client) == there

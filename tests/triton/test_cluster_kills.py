"""A store, its loader, a server and promotions after kills: the next start equals a dictionary of what was answered."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from live_servers import pid_of_another, served

from trident.cluster.filling import load_generation, overview
from trident.cluster.loaded import remove_collections
from trident.errors import TridentError
from trident.generation.generation import Generation
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.server.supervisor import RestartPolicy
from trident_client import ClientError, SearchClient

Row = tuple[str, str | None, float | None]  # title, brand, stock
Whole = Callable[[SearchClient], dict[str, Row]]
ACTIONS, VICTIMS = ("loading", "upserting", "promoting"), ("server", "engine", "who acts")
LATEST_S = 1.5  # of a kill, behind the beginning of what is killed
READY_S = 400.0
POLICY = RestartPolicy()
AGAIN_S = 300.0  # in which what was refused meanwhile is done again
PROMOTION = """
import sys
from pathlib import Path
from trident.promotion.promotion import PromoteOptions, promote
promote(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], PromoteOptions(), report=print)
"""


def until_done(work: Callable[[], Any]) -> None:
    """Do what is refused while something comes back, until it is done."""
    deadline = time.monotonic() + AGAIN_S
    while True:
        try:
            work()
        except (TridentError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


class Kills:
    """A live server over a store, a dictionary of what it answered, and what is done while something is killed.

    Args:
        own: Two generations in the stand-in, the first loaded.
        stand_in: The engine.
        whole: Gives the catalogue of a client.
        seed: Of titles and moments.
    """

    def __init__(self, own: Any, stand_in: Any, whole: Whole, seed: int) -> None:
        self.own, self.stand_in, self.whole = own, stand_in, whole
        self.draw, self.written = random.Random(seed), dict[str, Row | None]()
        self.http_port, self.url, self.pid = 0, "", 0
        self.deaths: list[float] = []  # of the server
        self.bases: dict[str, dict[str, Row]] = {}

    def run(self, points: list[tuple[str, str]]) -> None:
        """Kill once a point: what is done, and who is killed."""
        with served(self.own.folder, self.own.a.id) as (self.http_port, self.url):
            self.state = ServingFolder.of(self.own.folder, self.http_port)
            self.pid = pid_of_another(self.state, 0, within_s=READY_S)
            self.key = LiveFolder.of(self.own.folder).key()
            with SearchClient(self.url, timeout_s=60) as client:
                base = self.whole(client)
            self.bases = {self.own.a.id: base, self.own.b.id: {f"b{each[1:]}": row for each, row in base.items()}}
            for action, victim in points:
                self.kill(action, victim)
                self.check()

    def kill(self, action: str, victim: str) -> None:
        """Kill somebody at some moment of an action, and bring back what the next start brings back."""
        moment = self.draw.random() * LATEST_S
        of_server = victim == "server" or (victim == "who acts" and action == "upserting")
        if of_server:
            self.until_it_may_die()
        acting = self.begin(action, own_process=victim == "who acts")
        time.sleep(moment)
        if victim == "engine":
            self.stand_in.kill()
        elif of_server:
            os.kill(self.pid, 9)
            self.deaths.append(time.monotonic())
        else:
            acting.kill()
        acting.end()
        if victim == "engine":
            self.stand_in.start()
        elif of_server:
            self.pid = pid_of_another(self.state, self.pid, within_s=READY_S)

    def until_it_may_die(self) -> None:
        """Wait until the server's supervisor would not give up after one more death."""
        while sum(at > time.monotonic() - POLICY.window_s - 1 for at in self.deaths) >= POLICY.deaths - 1:
            time.sleep(1)

    def begin(self, action: str, *, own_process: bool) -> Acting:
        other = self.own.other(self.serving())
        if action == "upserting":
            return Acting(self.write_some)
        arguments: tuple[Any, ...]
        if action == "loading":
            options = ("--again", "--batch", "9", "--generations", self.own.folder)
            arguments = ("-m", "trident", "cluster", "load", other.id, *options)
            work = lambda: load_generation(other, batch=9, again=True)  # noqa: E731
        else:
            until_done(lambda: load_generation(other))
            arguments = ("-c", PROMOTION, self.own.folder, str(self.http_port), other.id)
            work = lambda: self.promote(other)  # noqa: E731
        return Acting(None if own_process else work, arguments)

    def serving(self) -> Generation:
        state = self.state.state()
        assert state is not None
        return self.own.a if state.serving == self.own.a.id else self.own.b

    def promote(self, other: Generation) -> None:
        promote(self.own.folder, self.http_port, other.id, PromoteOptions(), report=lambda _: None)

    def write_some(self) -> None:
        """Write one operation after the other, until one is not answered."""
        with SearchClient(self.url, write_key=self.key, timeout_s=60) as client:
            for number in range(60):
                self.write(client, f"n{self.draw.randrange(12)}", f"alba rake {number}")

    def write(self, client: SearchClient, product: str, title: str) -> None:
        gone = self.draw.random() < 0.3
        self.in_flight: dict[str, Row | None] = {product: None if gone else (title, None, None)}
        client.delete([product]) if gone else client.upsert([{"id": product, "title": title}])
        self.written |= self.in_flight
        self.in_flight = {}

    def check(self) -> None:
        """The catalogue is the dictionary, with what was in flight or without, and everything works again."""
        client = SearchClient(self.url, write_key=self.key, timeout_s=60)
        with client:
            there: dict[str, Row] = {}
            until_done(lambda: there.update(self.whole(client)))
            if there != self.expected() and getattr(self, "in_flight", {}):
                self.written |= self.in_flight
            assert there == self.expected()
            self.in_flight = {}
            until_done(lambda: self.write(client, f"n{self.draw.randrange(12)}", "alba rake again"))
            for product, row in self.written.items():
                if row is not None:  # by its words and by its vector
                    hits = client.search(row[0], k=50, options={"explain": True}).hits
                    assert product in [hit.product_id for hit in hits if hit.title == row[0]]
            other = self.own.other(self.serving())
            until_done(lambda: load_generation(other))
            assert {row["state"] for row in overview(self.own.folder)} == {"complete"}
            until_done(lambda: self.promote(other))
            assert self.whole(client) == self.expected()
            with suppress(TridentError):
                retire(self.own.folder, self.http_port, grace_s=0)

    def expected(self) -> dict[str, Row]:
        found = self.bases[self.serving().id] | self.written
        return {product: row for product, row in found.items() if row is not None}


class Acting:
    """Something that is done in a thread, or by a command in a process of its own, until it ends or fails."""

    def __init__(self, work: Callable[[], Any] | None, arguments: tuple[Any, ...] = ()) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None
        if work is None:
            self.process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
            return

        def until_it_fails() -> None:
            with suppress(TridentError, ClientError):
                work()

        self.thread = threading.Thread(target=until_it_fails)
        self.thread.start()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def end(self) -> None:
        if self.process is not None:
            self.process.wait()
        if self.thread is not None:
            self.thread.join()


@pytest.fixture
def own(pair: Any, stand_in: Any, tmp_path: Path) -> Any:
    """Return two generations in the stand-in, of which the first is loaded."""
    made = pair.copy(tmp_path)
    made = type(made)(made.folder, *(stand_in.takes(each, timeout_s=2.0) for each in (made.a, made.b)))
    remove_collections([made.a, made.b])  # another test's, of another log
    load_generation(made.a)
    return made


@pytest.mark.slow  # servers that start six times
@pytest.mark.timeout(1800)
def test_after_a_kill_of_each_the_next_start_is_right(
    own: Any, stand_in: Any, whole_catalogue: Whole, slow_seed: int
) -> None:
    points = [("upserting", "server"), ("loading", "engine"), ("promoting", "who acts")]
    Kills(own, stand_in, whole_catalogue, slow_seed).run(points)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_killed_ten_times_in_each(own: Any, stand_in: Any, whole_catalogue: Whole, slow_seed: int) -> None:
    points = [(action, VICTIMS[turn % 3]) for turn in range(10) for action in ACTIONS]
    Kills(own, stand_in, whole_catalogue, slow_seed).run(points)

"""``kill -9`` of the server: it is started again with the promoted generation, and no client sees a wrong answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError, GenerationError, ServerError
from trident.generation.state import ServerRecord, ServingFolder
from trident.probe.golden_check import check_serving
from trident.probe.running import find_running
from trident.promotion.promotion import PromoteOptions, promote
from trident.search.searcher import Searcher
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident.server.supervisor import RestartPolicy, restart, supervise
from trident_client import ClientError, SearchClient

QUIET = PromoteOptions()
RESTART_TIMEOUT_S = 60.0


@dataclass
class Served:
    """``trident serve`` as a process of its own."""

    own: Any
    port: int
    process: subprocess.Popen[str]

    @property
    def folder(self) -> ServingFolder:
        return ServingFolder.of(self.own.folder, self.port)

    def record(self) -> ServerRecord:
        record = self.folder.server()
        assert record is not None
        return record

    def kill(self) -> int:
        """Kill tritonserver as the kernel does when memory is short, and return its process id."""
        pid = self.record().tritonserver_pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_back(self, dead: int) -> None:
        deadline = time.monotonic() + RESTART_TIMEOUT_S
        while True:
            record = self.folder.server()
            if record is not None and record.tritonserver_pid != dead:
                return
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)


@pytest.fixture
def served(pair: Any, tmp_path: Path) -> Iterator[Served]:
    """Return ``trident serve`` of generation a, with a cache."""
    own = pair.copy(tmp_path / "generations")
    ports = free_ports(3)
    options = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    command = [sys.executable, "-m", "trident", "serve", "--generations", str(own.folder), *options]
    command += ["--generation", own.a.id, "--cache", "1MiB", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert started["generation"] == own.a.id
        try:
            yield Served(own, ports[0], process)
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    folder = ServingFolder.of(own.folder, ports[0])
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "history.jsonl", "state.json"]
    assert not list(Path("/dev/shm").glob(f"trident_*_{ports[0]}_*"))


@dataclass
class RetryingClient:
    """Asks all the time and tries again after a failure, as clients do."""

    url: str
    query: str
    answers: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        while not self.stopped.is_set():
            with SearchClient(self.url, timeout_s=5) as client:
                try:
                    while not self.stopped.is_set():
                        result = client.search(self.query, k=5)
                        self.answers.append((result.generation, tuple(hit.product_id for hit in result.hits)))
                        time.sleep(0.005)
                except ClientError as error:
                    self.failures.append(str(error))
                    time.sleep(0.1)


def test_a_killed_server_comes_back_with_the_promoted_generation(
    served: Served, living: Callable[[int], list[int]]
) -> None:
    own = served.own
    promote(own.folder, served.port, own.b.id, QUIET, report=lambda _: None)
    client = RetryingClient(served.record().grpc, "navy sofa")
    threads = [threading.Thread(target=client.ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        before = len(client.answers)
        dead = served.kill()
        served.wait_until_back(dead)
        back = len(client.answers)
        deadline = time.monotonic() + 20
        while len(client.answers) < back + 20 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        client.stopped.set()
        for thread in threads:
            thread.join()
    assert before > 10
    assert len(client.answers) >= back + 20
    assert client.failures  # it was away for a while
    answer = Searcher.load(own.b).answers(["navy sofa"], k=5)[0]
    assert set(client.answers) == {(own.b.id, tuple(answer.product_ids))}
    assert check_serving(own.folder, served.record().http).passed
    assert living(dead) == []  # neither it nor its models' processes
    promote(own.folder, served.port, own.a.id, QUIET, report=lambda _: None)  # with the same key


def test_a_server_killed_in_the_middle_of_a_promotion(served: Served) -> None:
    own = served.own
    killed: list[int] = []

    def kill_soon(line: str) -> None:
        if line.startswith("loading generation"):
            threading.Timer(0.05, lambda: killed.append(served.kill())).start()  # loading takes longer anywhere

    with pytest.raises((ServerError, GenerationError), match=r"does not answer|refused /v2/repository"):
        promote(own.folder, served.port, own.b.id, QUIET, report=kill_soon)
    assert killed
    served.wait_until_back(killed[0])
    report = check_serving(own.folder, served.record().http)
    assert report.generation == own.a.id
    assert report.passed
    assert served.folder.history()[-1].outcome == "failed"
    promote(own.folder, served.port, own.b.id, QUIET, report=lambda _: None)  # nothing was lost
    assert check_serving(own.folder, served.record().http).generation == own.b.id


def test_a_promotion_killed_between_its_switch_and_its_state(served: Served) -> None:
    own, control = served.own, find_running(served.own.folder, served.port).control
    program = "import sys; from pathlib import Path; from trident.promotion.promotion import PromoteOptions, promote\n"
    program += "promote(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], PromoteOptions(), report=print)\n"
    command = [sys.executable, "-c", program, str(own.folder), str(served.port), own.b.id]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as promoting:
        held = served.folder.path / f".state.json.{promoting.pid}"
        os.mkfifo(held)  # it waits for a reader where it writes the state
        while control.loaded("search") != {own.b.serial} or control.loaded("candidate"):
            assert promoting.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # the golden queries after the switch
        promoting.kill()
    held.unlink()
    url = served.record().http
    assert check_serving(own.folder, url, switch_s=0).others  # the state knows nothing of the switch
    dead = served.kill()
    served.wait_until_back(dead)
    report = check_serving(own.folder, url)
    assert (report.generation, report.differences) == (own.a.id, ())
    promote(own.folder, served.port, own.b.id, QUIET, report=lambda _: None)
    assert check_serving(own.folder, url).generation == own.b.id


def in_process(own: Any, test: Callable[[Any, ServeOptions], None]) -> None:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(own.a, own.folder, options) as server:
        test(server, options)


def test_a_server_that_dies_too_often_is_given_up(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path / "generations")
    lines: list[str] = []

    def die_twice(server: Any, options: ServeOptions) -> None:
        def report(line: str) -> None:
            lines.append(line)
            if line.startswith("ready again"):
                os.kill(server.pid, signal.SIGKILL)

        os.kill(server.pid, signal.SIGKILL)
        policy = RestartPolicy(deaths=2, first_delay_s=0.1)
        with pytest.raises(ServerError, match=r"tritonserver died 2 times within 300 s and is not started again; the"):
            supervise(server, own.folder, options, policy=policy, report=report)
        folder = ServingFolder.of(own.folder, options.http_port)
        assert folder.server() is None
        state = folder.state()
        assert state is not None
        (folder.path / "state.json").unlink()
        with pytest.raises(ServerError, match=r"has no state\.json: start trident serve again"):
            restart(server, own.folder, options)
        folder.restore_state(state)
        own.b.cpu_graph().unlink()
        folder.write_state(own.b.id, own.a.id)
        server.start()
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError, match=r"died 2 times within 300 s .*: tritonserver ended with status 1 while"):
            supervise(server, own.folder, options, policy=policy, report=lines.append)

    in_process(own, die_twice)
    assert lines[:2] == [
        "tritonserver ended by itself with status -9; starting it again in 0.1 s",
        f"ready again: generation {own.a.id}",
    ]
    assert len(lines) == 3


def test_a_server_is_not_started_again_with_wrong_answers(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path / "generations")

    def damage(server: Any, options: ServeOptions) -> None:
        server.stop()
        shutil.copyfile(own.b.folder / "golden.json", own.a.folder / "golden.json")
        with pytest.raises(ServerError, match=f"generation {own.a.id} must answer its .* got at the start: "):
            restart(server, own.folder, options)
        assert not server.is_running

    in_process(own, damage)


def test_what_goes_wrong_at_a_restart_is_tried_again(pair: Any, tmp_path: Path) -> None:
    """A generation that is gone, a full disk: each counts as a death, and is not the end of ``trident serve``."""
    own = pair.copy(tmp_path / "generations")
    lines: list[str] = []

    def die(server: Any, options: ServeOptions) -> None:
        folder = ServingFolder.of(own.folder, options.http_port)
        aside = tmp_path / "aside"
        blocking = folder.path / f".server.json.{os.getpid()}"

        def report(line: str) -> None:
            lines.append(line)
            if len(lines) == 1:
                own.a.folder.rename(aside)
            elif len(lines) == 2:
                aside.rename(own.a.folder)
                blocking.symlink_to("/dev/full")
            elif line.startswith("ready again"):
                os.kill(server.pid, signal.SIGKILL)
            else:
                blocking.unlink()

        os.kill(server.pid, signal.SIGKILL)
        policy = RestartPolicy(deaths=4, first_delay_s=0.01)
        with pytest.raises(ServerError, match="tritonserver died 4 times within 300 s"):
            supervise(server, own.folder, options, policy=policy, report=report)

    in_process(own, die)
    assert [line.partition(";")[0].partition(" (")[0] for line in lines] == [
        "tritonserver ended by itself with status -9",
        f"generation '{own.a.id}' is not in {own.folder}",
        "[Errno 28] No space left on device",
        f"ready again: generation {own.a.id}",
    ]


def test_the_delay_is_bounded() -> None:
    policy = RestartPolicy()
    assert [policy.delay_s(deaths) for deaths in (1, 2, 3, 10)] == [0.5, 1.0, 2.0, 30.0]
    with pytest.raises(ConfigError, match="deaths must be >= 1, got 0"):
        RestartPolicy(deaths=0)
    with pytest.raises(ConfigError, match="window_s, first_delay_s and longest_delay_s must be >= 0"):
        RestartPolicy(window_s=-1)

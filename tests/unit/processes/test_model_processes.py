"""Processes of models: real processes under a real parent that waits for none of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trident.generation.state import ProcessRecord, ServingFolder
from trident.processes.model_processes import ModelProcess, ModelProcesses, children, model_of
from trident.processes.orphans import adopts_orphans, reap_group, reap_orphans

# A server: starts a process for each line, and waits for those that it is told to.
PARENT = """
import subprocess, sys
started = {}
for line in sys.stdin:
    verb, *words = line.split()
    if verb == "start":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *words])
        started[child.pid] = child
        print(child.pid, flush=True)
    else:
        started[int(words[0])].kill()
        started[int(words[0])].wait()
        print("waited", flush=True)
"""


class Server:
    """The parent, and where its models lie."""

    def __init__(self, models: Path) -> None:
        self.models = models
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def tell(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def start(self, model: str, version: int) -> int:
        pid = int(self.tell(f"start {self.models}/{model}/{version}/model.py region"))
        wait_for(lambda: model_of(pid, self.models) is not None)  # it has become the program
        return pid


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> ServingFolder:
    (tmp_path / "models").mkdir()
    return ServingFolder(tmp_path.resolve())


@pytest.fixture
def server(folder: ServingFolder) -> Iterator[Server]:
    started = Server(folder.models)
    try:
        yield started
    finally:
        os.killpg(started.process.pid, signal.SIGKILL)
        started.process.communicate()


@pytest.fixture
def processes(folder: ServingFolder) -> ModelProcesses:
    return ModelProcesses(folder)


def test_what_a_process_serves_is_read_from_its_command_line(server: Server, folder: ServingFolder) -> None:
    pid = server.start("pipeline", 7)
    assert model_of(pid, folder.models) == ModelProcess(pid, "pipeline", 7)
    assert model_of(pid, folder.models.parent) is None  # of another repository
    assert model_of(os.getpid(), folder.models) is None
    assert model_of(2**22 + 1, folder.models) is None  # no such process
    assert children(server.process.pid).keys() == {pid}


def test_a_process_that_died_is_told_once_until_its_model_is_mended(
    server: Server, processes: ModelProcesses, folder: ServingFolder
) -> None:
    first, other = server.start("pipeline", 7), server.start("retriever", 7)
    assert processes.look(server.process.pid) == []
    assert folder.processes() == ProcessRecord()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: processes.look(server.process.pid) == [("pipeline", 7)])
    assert children(server.process.pid)[first] == "Z"  # nobody waits for it, as in tritonserver
    assert [line.partition(" died")[0] for line in processes.faults()] == ["a process of version 7 of model 'pipeline'"]
    assert folder.processes() == ProcessRecord(died=1, down=1)
    server.start("pipeline", 7)
    processes.mended(("pipeline", 7))
    time.sleep(1.2)
    assert processes.look(server.process.pid) == []
    assert processes.faults() == ()
    assert folder.processes() == ProcessRecord(died=1, down=0)
    os.kill(other, signal.SIGKILL)
    wait_for(lambda: processes.look(server.process.pid) == [("retriever", 7)])
    assert folder.processes() == ProcessRecord(died=2, down=1)


def test_several_that_died_are_mended_together(
    server: Server, processes: ModelProcesses, folder: ServingFolder
) -> None:
    both = [server.start("pipeline", 7) for _ in range(2)]
    processes.look(server.process.pid)
    os.kill(both[0], signal.SIGKILL)
    wait_for(lambda: processes.look(server.process.pid) == [("pipeline", 7)])
    os.kill(both[1], signal.SIGKILL)  # while the model is loaded again
    wait_for(lambda: children(server.process.pid)[both[1]] == "Z")
    processes.mended(("pipeline", 7))
    time.sleep(1.2)
    assert processes.look(server.process.pid) == []
    assert folder.processes() == ProcessRecord(died=2, down=0)


def test_one_of_two_versions_that_is_unloaded_did_not_die(server: Server, processes: ModelProcesses) -> None:
    """Its server has waited for it."""
    old, new = server.start("pipeline", 7), server.start("pipeline", 8)
    second = server.start("pipeline", 8)
    processes.look(server.process.pid)
    server.tell(f"end {second}")
    time.sleep(1.2)
    assert processes.look(server.process.pid) == []
    server.tell(f"end {old}")  # the last of its version: whether it is loaded is asked before anything is mended
    wait_for(lambda: processes.look(server.process.pid) == [("pipeline", 7)])
    processes.was_none(("pipeline", 7))
    assert processes.look(server.process.pid) == []
    assert new in children(server.process.pid)


def test_another_server_starts_from_nothing(server: Server, processes: ModelProcesses, folder: ServingFolder) -> None:
    pid = server.start("pipeline", 7)
    processes.look(server.process.pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: processes.look(server.process.pid) == [("pipeline", 7)])
    again = Server(folder.models)
    try:
        again.start("pipeline", 7)
        assert processes.look(again.process.pid) == []
        assert folder.processes() == ProcessRecord(died=1, down=0)
    finally:
        os.killpg(again.process.pid, signal.SIGKILL)
        again.process.communicate()


ADOPTS = """
import ctypes, os, subprocess, sys, time
from trident.processes.model_processes import children
from trident.processes.orphans import adopts_orphans, reap_group, reap_orphans
assert not adopts_orphans()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
assert adopts_orphans()
own = subprocess.Popen(["true"])
leader = subprocess.Popen(["sh", "-c", "sleep 0.3 & exit"], start_new_session=True)
lone = subprocess.Popen(["sh", "-c", "sleep 0.3 & exit"])
for each in (leader, lone):
    each.wait()
while list(children(os.getpid()).values()) != ["Z"] * 3:
    time.sleep(0.05)
reap_group(leader.pid)
assert len(children(os.getpid())) == 2
reap_orphans(own.pid)
print(children(os.getpid()) == {own.pid: "Z"}, own.wait())
"""


def test_orphans_are_waited_for_and_what_somebody_waits_for_is_not() -> None:
    assert not adopts_orphans()
    done = subprocess.run([sys.executable, "-c", ADOPTS], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "0"]


def test_a_group_that_is_gone_is_no_fault() -> None:
    child = subprocess.Popen(["true"], start_new_session=True)
    child.wait()
    reap_group(child.pid)
    reap_orphans(child.pid)

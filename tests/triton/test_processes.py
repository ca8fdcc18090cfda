"""A model's process that dies: noticed, told, mended beside what is left, for each model of each variant."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trident.generation.state import ServingFolder
from trident.processes.model_processes import ModelProcess, children, model_of
from trident.server.server import free_ports
from trident_client import ClientError, SearchClient

LATEST_S = 150.0  # whatever else the machine does; it takes 5 s to notice and 30 s to mend at most where it is quiet
MODELS = [
    ("cpu", "pipeline"),
    ("stages", "tokenizer"),
    ("stages", "encoder"),
    ("stages", "retriever"),
    ("torch", "encoder"),
]
# Orphans come to it, as to process 1.
ADOPT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass
class Served:
    """``trident serve`` as a process of its own, with the addresses of its HTTP, gRPC, metrics and health."""

    process: subprocess.Popen[str]
    folder: ServingFolder
    ports: list[int]
    log: Path

    @property
    def tritonserver(self) -> int:
        record = self.folder.server()
        assert record is not None
        return record.tritonserver_pid

    def models(self) -> list[ModelProcess]:
        """Return the living processes of its models."""
        found = [model_of(pid, self.folder.models.resolve()) for pid in children(self.tritonserver)]
        return [each for each in found if each is not None]

    def ready(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection(f"127.0.0.1:{self.ports[3]}", timeout=10)
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        connection = http.client.HTTPConnection(f"127.0.0.1:{self.ports[2]}", timeout=10)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return max((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{")), default=-1.0)


def wait_for(holds: Callable[[], bool], seen: Callable[[], object] = lambda: None) -> None:
    """Wait until something holds; what was seen last is told where it never does."""
    deadline = time.monotonic() + LATEST_S
    while not holds():
        assert time.monotonic() < deadline, seen()
        time.sleep(0.1)


@contextmanager
def serving(generations: Path, log: Path, *options: str, health: bool = True) -> Iterator[Served]:
    ports = free_ports(4)
    names = ("http", "grpc", "metrics", "health") if health else ("http", "grpc", "metrics")
    command = [
        sys.executable,
        "-c",
        ADOPT,
        "-m",
        "trident",
        "serve",
        "--generations",
        str(generations),
        "--json",
        *options,
    ]
    command += [f"--{name}-port={port}" for name, port in zip(names, ports, strict=False)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        json.loads(line)
        try:
            yield Served(process, ServingFolder.of(generations, ports[0]), ports, log)
        finally:
            process.terminate()
            process.wait(timeout=60)
    assert process.returncode == 0, log.read_text()


@pytest.mark.parametrize(("variant", "model"), MODELS)
def test_a_model_gets_new_processes(tiny_generations: Path, tmp_path: Path, variant: str, model: str) -> None:
    generations = Path(
        shutil.copytree(tiny_generations, tmp_path / "generations", ignore=shutil.ignore_patterns(".serving"))
    )
    with (
        serving(generations, tmp_path / "log", "--variant", variant) as served,
        SearchClient(f"127.0.0.1:{served.ports[1]}", timeout_s=10) as client,
    ):
        wait_for(lambda: served.ready()[0] == 200)
        before = served.models()
        server = served.tritonserver
        victim = next(each for each in before if each.model == model)
        os.kill(victim.pid, signal.SIGKILL)
        wait_for(lambda: served.ready()[0] == 503)
        assert f"of model '{model}' died" in served.ready()[1]
        wait_for(lambda: served.ready()[0] == 200)
        keys = sorted(each.key for each in before)  # the old ones end when they have answered what they had
        wait_for(lambda: sorted(each.key for each in served.models()) == keys)
        after = served.models()
        assert victim.pid not in {each.pid for each in after}
        others = {each.pid for each in before if each.model != model}
        assert others <= {each.pid for each in after}, "only that model is loaded again"
        assert served.tritonserver == server
        for number in range(20):
            assert client.search(f"navy sofa {number}").hits
        names = ("trident_model_process_deaths", "trident_model_processes_down")
        wait_for(lambda: [served.metric(name) for name in names] == [1.0, 0.0])  # a second behind
        log = (tmp_path / "log").read_text()
        assert f"a process of version {victim.version} of model '{model}' died; loading the model again" in log
        assert f"model '{model}' has all of its processes again" in log


def told(served: Served) -> tuple[object, list[ModelProcess], str]:
    """Return what the server says of its processes, those that are there, and its log."""
    models = [] if served.folder.server() is None else served.models()
    return served.folder.processes(), models, served.log.read_text()


def is_mended(served: Served, dead: list[ModelProcess]) -> bool:
    """Return whether others are there instead of processes that died, and the server knows it."""
    if served.folder.server() is None:  # it is just being started again
        return False
    there = served.models()
    is_same = sorted(each.model for each in there) == sorted(each.model for each in dead)
    return (
        is_same
        and not {each.pid for each in there} & {each.pid for each in dead}
        and not served.folder.processes().down
    )


def test_it_is_mended_without_a_health_port_and_again_and_again(tiny_generations: Path, tmp_path: Path) -> None:
    generations = Path(
        shutil.copytree(tiny_generations, tmp_path / "generations", ignore=shutil.ignore_patterns(".serving"))
    )
    with serving(generations, tmp_path / "log", "--cache", "1MiB", health=False) as served:
        for number in (1, 2):
            dead = served.models()
            assert sorted(each.model for each in dead) == ["pipeline", "pipeline", "suggester"]
            for each in dead:  # both instances at once: nobody answers until the model is loaded again
                os.kill(each.pid, signal.SIGKILL)
            wait_for(lambda dead=dead: is_mended(served, dead), lambda: told(served))
            with SearchClient(f"127.0.0.1:{served.ports[1]}", timeout_s=60) as client:
                assert client.search("navy sofa").hits
            # Of those that die together one is seen; others may have come back with its reload before theirs was:
            # Triton reloads a model's instances together, and dependents.
            assert number <= served.folder.processes().died <= 3 * number, told(served)


def test_a_model_that_cannot_be_loaded_again_takes_the_server_with_it(tiny_generations: Path, tmp_path: Path) -> None:
    generations = Path(
        shutil.copytree(tiny_generations, tmp_path / "generations", ignore=shutil.ignore_patterns(".serving"))
    )
    with serving(generations, tmp_path / "log") as served:
        before = served.tritonserver
        link = next((served.folder.models / "retriever").glob("*/cuts.json"))
        link.unlink()
        link.write_text("damaged")
        os.kill(served.models()[0].pid, signal.SIGKILL)
        wait_for(lambda: "ready again: generation" in served.log.read_text())
        assert "a process of model 'pipeline' died, and the model could not be loaded again" in served.log.read_text()
        assert served.tritonserver != before
        wait_for(lambda: served.ready()[0] == 200)
        # What the dead server left came to trident serve, which adopts orphans here as process 1 does.
        assert "Z" not in children(served.process.pid).values()


def test_zombies_are_waited_for_after_the_server_died(tiny_generations: Path, tmp_path: Path) -> None:
    generations = Path(
        shutil.copytree(tiny_generations, tmp_path / "generations", ignore=shutil.ignore_patterns(".serving"))
    )
    with serving(generations, tmp_path / "log", health=False) as served:
        os.kill(served.tritonserver, signal.SIGKILL)
        wait_for(lambda: "ready again: generation" in served.log.read_text())
        wait_for(lambda: "Z" not in children(served.process.pid).values())
        with SearchClient(f"127.0.0.1:{served.ports[1]}", timeout_s=10) as client:
            try:
                assert client.search("navy sofa").hits
            except ClientError as error:
                pytest.fail(f"{error}\n{served.log.read_text()}")

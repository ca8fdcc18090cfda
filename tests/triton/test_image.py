"""What Dockerfile.triton starts and asks, run as it stands there with the wheel's server instead of the image's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from trident.generation.generation import GOLDEN_FILE
from trident.server.server import free_ports

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile.triton").read_text(encoding="utf-8")
READY_TIMEOUT_S = 90


def instruction(pattern: str) -> list[str]:
    """Return the one list of an instruction, such as that of CMD."""
    (found,) = re.findall(pattern + r" (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [str(word) for word in json.loads(found)]


START, HEALTH = instruction("^CMD"), instruction("^ +CMD")


@dataclass(frozen=True)
class Container:
    """A folder in the place of the container's root, and ports in the place of its own."""

    root: Path
    http_port: int
    grpc_port: int
    metrics_port: int
    health_port: int

    def command(self, words: list[str]) -> list[str]:
        """Return a command of the Dockerfile for here: only places and addresses differ."""
        here = {word: str(self.root / word[1:]) for word in ("/generations", "/plans")}
        here |= {"0.0.0.0": "127.0.0.1", "127.0.0.1:8000": f"127.0.0.1:{self.http_port}"}
        assert words[0] == "trident"
        return [sys.executable, "-m", "trident", *(here.get(word, word) for word in words[1:])]

    def start(self) -> subprocess.Popen[str]:
        """Start what the container starts."""
        ports = ["--http-port", self.http_port, "--grpc-port", self.grpc_port, "--metrics-port", self.metrics_port]
        command = [*self.command(START), *map(str, [*ports, "--health-port", self.health_port])]
        own = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        return subprocess.Popen(command, env=os.environ | own, stderr=subprocess.PIPE, text=True)

    def status(self, path: str) -> int:
        """Return what a probe of Kubernetes gets."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def health(self) -> subprocess.CompletedProcess[str]:
        """Ask what HEALTHCHECK asks."""
        return subprocess.run(self.command(HEALTH), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def container(tiny_generations: Path, tmp_path: Path) -> Container:
    shutil.copytree(tiny_generations, tmp_path / "generations", ignore=shutil.ignore_patterns(".serving"))
    (tmp_path / "plans").mkdir()
    return Container(tmp_path, *free_ports(4))


@pytest.fixture
def server(container: Container) -> Iterator[subprocess.Popen[str]]:
    """Return the started process, healthy."""
    process = container.start()
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while container.health().returncode:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "never healthy"
            time.sleep(0.5)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_container_s_command_serves_on_a_cpu_and_its_health_check_asks_golden_queries(
    container: Container, server: subprocess.Popen[str]
) -> None:
    (golden,) = container.root.glob(f"generations/*/{GOLDEN_FILE}")
    right = golden.read_text(encoding="utf-8")
    answers = json.loads(right)
    answers[0]["product_ids"].reverse()
    golden.write_text(json.dumps(answers), encoding="utf-8")
    wrong = container.health()
    assert wrong.returncode == 1
    assert "must answer" in wrong.stderr.splitlines()[-1]
    golden.write_text(right, encoding="utf-8")
    assert container.health().returncode == 0
    deadline = time.monotonic() + READY_TIMEOUT_S  # its own check may have read the wrong answers, and asks again
    while (status := container.status("/ready")) != 200:
        assert (status, time.monotonic() < deadline) == (503, True)
        time.sleep(0.5)
    assert container.status("/live") == 200

    server.send_signal(signal.SIGTERM)
    _, said = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "encoder: cpu (no GPU)" in said
    gone = container.health()
    assert gone.returncode == 1
    assert len(gone.stderr.splitlines()) == 1


def test_kubernetes_asks_what_the_image_serves() -> None:
    documents = yaml.safe_load_all((REPOSITORY / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8"))
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["startupProbe"]["exec"]["command"] == HEALTH
    asked = {name: server[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")}
    assert [probe["path"] for probe in asked.values()] == ["/ready", "/live"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert {ports[probe["port"]] for probe in asked.values()} == {int(START[START.index("--health-port") + 1])}
    assert {mount["mountPath"] for mount in server["volumeMounts"]} == {"/generations", "/plans", "/dev/shm"}
    assert "command" not in server  # the image's own
    assert "args" not in server


def test_compose_publishes_on_this_machine_only() -> None:
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services.keys() == {"search", "search-cpu"}
    for service in services.values():
        assert [port.split(":")[0] for port in service["ports"]] == ["127.0.0.1"] * 3
        assert "command" not in service
        assert "healthcheck" not in service
    assert "deploy" in services["search"]
    assert "deploy" not in services["search-cpu"]


def test_the_image_runs_as_its_own_user_and_writes_no_byte_code() -> None:
    final = DOCKERFILE.rpartition("\nFROM triton\n")[2]
    assert re.findall(r"^USER (\S+)$", final, re.MULTILINE) == ["1000:1000"]
    assert "ENV PYTHONDONTWRITEBYTECODE=1" in DOCKERFILE.partition(" AS builder")[0]
    assert START[START.index("--host") + 1] == "0.0.0.0"

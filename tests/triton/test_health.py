"""``trident serve`` with all watched: ready means that the answers are right, also when the server was killed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trident.generation.generation import Generation, find_generation
from trident.generation.state import ServingFolder
from trident.server.server import free_ports
from trident_client import SearchClient

WAIT_S = 60.0


@dataclass(frozen=True)
class Served:
    """A running ``trident serve``."""

    generation: Generation
    folder: ServingFolder
    grpc: str
    health: str

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(self.health, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wait_for(self, status: int) -> dict[str, Any]:
        """Return what ``/ready`` says as soon as it has a status."""
        deadline = time.monotonic() + WAIT_S
        while (answer := self.ask("/ready"))[0] != status:
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
        return answer[1]


@pytest.fixture(scope="module")
def served(tiny_generations: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    generations = tmp_path_factory.mktemp("health") / "generations"
    original = find_generation(tiny_generations)
    shutil.copytree(original.folder, generations / original.id)
    http_port, grpc_port, metrics_port, health_port = free_ports(4)
    ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port, "health": health_port}
    options = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
    watched = ["--query-log", "--canary-share", "0.5", "--health-period", "2"]
    command = [sys.executable, "-m", "trident", "serve", "--generations", str(generations), "--json"]
    process = subprocess.Popen([*command, *options, *watched], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["generation"] == original.id
        yield Served(
            find_generation(generations),
            ServingFolder.of(generations, http_port),
            f"127.0.0.1:{grpc_port}",
            f"127.0.0.1:{health_port}",
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def test_ready_means_that_the_golden_answers_are_right(served: Served) -> None:
    ready = served.wait_for(200)
    golden = served.generation.folder / "golden.json"
    assert ready["generation"] == served.generation.id
    assert ready["asked"] == len(served.generation.golden())
    kept = golden.read_text()
    rows = json.loads(kept)
    rows[0]["product_ids"][0] = "9999"
    try:
        golden.write_text(json.dumps(rows))
        wrong = served.wait_for(503)
    finally:
        golden.write_text(kept)
    assert wrong["reasons"][0] == f"1 of {len(rows)} golden queries are answered otherwise than at the export"
    assert "place 1 must be product 9999, got " in wrong["reasons"][1]
    served.wait_for(200)


def test_a_killed_server_is_not_ready_until_it_answers_again(served: Served) -> None:
    served.wait_for(200)
    record = served.folder.server()
    assert record is not None
    os.kill(record.tritonserver_pid, signal.SIGKILL)
    reasons = served.wait_for(503)["reasons"]
    assert any("does not answer" in reason for reason in reasons), reasons
    assert served.ask("/live") == (200, {"live": True})
    assert served.wait_for(200)["generation"] == served.generation.id


def test_health_checks_are_not_in_the_query_log(served: Served) -> None:
    served.wait_for(200)
    with SearchClient(served.grpc) as client:
        client.search("ebony novel for me")
    deadline = time.monotonic() + WAIT_S
    log = served.folder.query_log_path
    while not (log.exists() and (lines := log.read_text(encoding="utf-8").splitlines())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [json.loads(line)["query"] for line in lines] == ["ebony novel for me"]

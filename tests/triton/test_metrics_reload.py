"""Metrics while models come and go: two processes of one model version never share a metric of Triton's."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trident.generation.generation import Identity
from trident.server.server import ServerConfig, TritonServer, free_ports

CONFIG = """
backend: "python"
max_batch_size: 8
version_policy { all {} }
input [{ name: "text" data_type: TYPE_STRING dims: [1] }]
output [{ name: "same" data_type: TYPE_STRING dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
COUNTING = """
import threading
from pathlib import Path

import triton_python_backend_utils as pb_utils

from trident.generation.generation import Identity
from trident.watch.serving_metrics import RETRIEVER_METRICS, SEARCHES, ServingMetrics


class TritonPythonModel:
    def initialize(self, args):
        identity = Identity.load(Path(args["model_repository"]) / args["model_version"])
        self.metrics = ServingMetrics(pb_utils.MetricFamily, identity, RETRIEVER_METRICS)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.count)
        self.thread.start()

    def count(self):
        while not self.stopping.wait(0.01):
            self.metrics.add({SEARCHES: 1})
            self.metrics.flush()

    def finalize(self):
        self.stopping.set()
        self.thread.join()
        self.metrics.close()

    def execute(self, requests):
        raise RuntimeError("nobody asks this model: it only counts")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TritonServer]:
    for version in (1, 2):
        folder = tmp_path / "counting" / str(version)
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(COUNTING)
        (folder / "__pycache__").touch()
        Identity(id=str(version) * 16, serial=version, encoder_fingerprint="f" * 16).save(folder)
    (tmp_path / "counting" / "config.pbtxt").write_text(CONFIG)
    http_port, grpc_port, metrics_port = free_ports(3)
    config = ServerConfig(
        model_repository=tmp_path,
        load_models=("counting",),
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        exit_timeout_s=2,
    )
    with TritonServer(config) as started:
        yield started


def load(server: TritonServer) -> None:
    connection = http.client.HTTPConnection(server.urls.http, timeout=30)
    connection.request("POST", "/v2/repository/models/counting/load", json.dumps({}))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def searches(server: TritonServer) -> dict[tuple[str, str], float]:
    """Return the counts by serial number and worker."""
    connection = http.client.HTTPConnection(server.urls.metrics, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.labels["serial"], sample.labels["worker"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "trident_searches_total"
    }


def wait_for_workers(server: TritonServer, serials: list[str]) -> None:
    deadline = time.monotonic() + 10
    while sorted(serial for serial, _ in searches(server)) != serials:
        assert time.monotonic() < deadline, searches(server)
        time.sleep(0.1)


def test_a_version_is_loaded_again_and_another_leaves_while_both_count(server: TritonServer) -> None:
    repository = server.config.model_repository
    wait_for_workers(server, ["1", "2"])
    first = searches(server).keys()
    for _ in range(4):
        (repository / "counting" / "1" / "model.py").touch()  # version 1 is made anew before the old one ends
        load(server)
        wait_for_workers(server, ["1", "2"])
        (repository / "counting" / "2").rename(repository / "away")
        load(server)
        wait_for_workers(server, ["1"])  # what left takes its metrics with it
        (repository / "away").rename(repository / "counting" / "2")
        load(server)
        wait_for_workers(server, ["1", "2"])
    assert not first & searches(server).keys()
    assert server.is_running
    before = searches(server)
    time.sleep(0.5)
    assert all(value > before[worker] for worker, value in searches(server).items())

"""``trident bench`` with the real perf_analyzer against a real server, from its options to its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trident.bench.perf_analyzer import Load, Target, find_perf_analyzer
from trident.bench.queries import write_tensor_input
from trident.errors import BenchError

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = ("--rounds", "1", "--window", "0.2", "--batches", "1,4", "--threads", "1", "--count", "40")


pytestmark = pytest.mark.usefixtures("perf_analyzer")


@pytest.fixture(scope="module")
def server_file(tiny_server, tiny_generations, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "server.json"
    (generation,) = tiny_generations.glob("*/manifest.json")
    urls = {"http": tiny_server.urls.http, "grpc": tiny_server.urls.grpc, "metrics": tiny_server.urls.metrics}
    path.write_text(json.dumps({"generation": generation.parent.name, "serial": 1, "pid": tiny_server.pid, **urls}))
    return path


def test_a_running_server_is_measured_by_both_protocols_and_by_rate(
    run_warm, server_file, tiny_generations, tiny_data, tmp_path
):
    done = run_warm(
        "bench", "--queries", tiny_data / "pairs.csv", "--generations", tiny_generations, "--server", server_file,
        "--protocol", "grpc", "--protocol", "http", "--clients", "1,4,8", "--rates", "30", *QUICK,
        "--plot", tmp_path / "plot.svg", "--out", tmp_path / "report.json", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text("utf-8"))
    loads = ["1 client", "4 clients", "8 clients", "30/s"]
    assert [(row["load"], row["protocol"]) for row in report["rows"]] == [
        (load, protocol) for load in loads for protocol in ("grpc", "http")
    ]
    assert report["queries"]["distinct"] == 40
    assert [(point["way"], point["batch"]) for point in report["yardstick"]] == [
        ("plain", 1), ("plain", 4), ("tuned", 1), ("tuned", 4),
    ]  # fmt: skip
    assert len(report["measurements"]["turns"]) == 2  # before and after the round
    for row in report["rows"]:
        stages = {stage["model"]: stage for stage in row["stages"]}
        assert {"search", "pipeline"} == stages.keys()
        assert all(stage["failures"] == 0 and stage["compute_infer_ms"] > 0 for stage in stages.values())
        assert stages["pipeline"]["inferences"] >= 64  # at least the warm-up
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["throughput_ratio"] > 0
        assert row["p50_ratio"] > 0
        assert 0 < row["server_cpu_s_per_1000"] < 1000
        assert row["memory_mib"] > 20
    by_load = {(row["load"], row["protocol"]): row for row in report["rows"]}
    assert by_load["1 client", "grpc"]["mean_encoder_batch"] == 1.0
    assert by_load["8 clients", "grpc"]["mean_encoder_batch"] > 1.0
    assert by_load["30/s", "grpc"]["searches_per_s"] < 45
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")


def serving(generations: Path) -> set[Path]:
    return set((generations / ".serving").glob("*/models"))


@pytest.mark.parametrize(("at_least", "status"), [(0.0001, 0), (1000.0, 1)])
def test_a_server_of_its_own_is_started_and_held_against_a_budget(
    run_warm, tiny_generations, tiny_data, tmp_path, at_least, status
):
    budget = tmp_path / "budget.toml"
    bound = f'[[bound]]\nfigure = "throughput_ratio"\nprotocol = "grpc"\nclients = 2\nat_least = {at_least}\n'
    budget.write_text(f'tolerance = 0.1\ntaken = "never"\n{bound}')
    before = serving(tiny_generations)
    done = run_warm(
        "bench", "--queries", tiny_data / "pairs.csv", "--generations", tiny_generations, "--clients", "2", *QUICK,
        "--budget", budget,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "In one process" in done.stdout
    assert "trident grpc" in done.stdout
    assert "pipeline" in done.stdout
    last = done.stderr.splitlines()[-1]
    if status:
        assert last.startswith("trident: the budget is broken: throughput_ratio, grpc, 2 clients: ")
    else:
        assert last.startswith("kept: throughput_ratio, grpc, 2 clients: ")
    assert serving(tiny_generations) == before  # it was stopped


def test_a_yardstick_of_another_generation_is_refused(run_warm, server_file, tiny_generations, tiny_data):
    document = json.loads(server_file.read_text("utf-8"))
    other = server_file.with_name("other.json")
    other.write_text(json.dumps(document | {"generation": "0123456789abcdef"}))
    done = run_warm(
        "bench", "--queries", tiny_data / "pairs.csv", "--generations", tiny_generations, "--server", other,
        "--generation", document["generation"],
    )  # fmt: skip
    assert done.returncode == 1
    assert f"got {document['generation']} where 0123456789abcdef is served: leave --generation out" in done.stderr


def test_a_request_that_fails_ends_the_measurement(tiny_server, tmp_path):
    target = Target(url=tiny_server.urls.grpc, protocol="grpc")
    empty = write_tensor_input([""], tmp_path / "empty.json")
    with pytest.raises(BenchError, match=r"perf_analyzer failed .* with 2 clients on grpc .*query must not be empty"):
        find_perf_analyzer().measure(target, Load(clients=2), empty, window_s=0.2)


def peers(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    command = [sys.executable, REPOSITORY / "bench" / "peers.py", *arguments]
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)


def test_a_peer_is_measured_in_turns_with_trident(tiny_generations, tiny_data, tmp_path):
    # pytriton and sentence-transformers are in this environment; the other peers need one of their own
    done = peers(
        "--queries", tiny_data / "pairs.csv", "--generations", tiny_generations, "--peers", "pytriton", "--clients",
        "4", "--rounds", "1", "--window", "0.5", "--environment", Path(sys.prefix), "--out", tmp_path / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "report.json").read_text("utf-8"))["rows"]
    assert [(row["subject"], row["protocol"]) for row in rows] == [
        ("trident", "grpc"), ("trident", "http"), ("pytriton", "grpc"),
    ]  # fmt: skip
    assert all(row["searches_per_s"] > 0 and row["memory_mib"] > 20 for row in rows)
    assert "pytriton grpc" in done.stdout


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--peers", "nobody"), 2, "--peers must be of infinity, infinity-search, fastapi, pytriton, got 'nobody'"),
        (("--environment", "nowhere"), 2, "the peers' environment nowhere is missing: run make peers"),
        (("--peers", "infinity", "--environment", sys.prefix), 1, "peers: infinity did not start: no program"),
    ],
)
def test_peers_that_cannot_run_are_refused(tiny_generations, tiny_data, options, status, message):
    done = peers("--queries", tiny_data / "pairs.csv", "--generations", tiny_generations, *options)
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]

"""Queries drawn for a load, CPU time of a process tree, the server under test, Triton's counters, the configuration."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from trident.bench.process_tree import tree_usage
from trident.bench.queries import draw_queries, write_rest_input, write_tensor_input
from trident.bench.run import BenchConfig
from trident.bench.served import running, started
from trident.bench.triton_statistics import read_counters, stages_between
from trident.bench.yardstick import Yardstick, measure_yardstick
from trident.errors import BenchError, ConfigError, DataError, ServerError
from trident.generation.generation import find_generation
from trident.server.server import free_ports


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    asked = ["usb cable", "USB  Cable", "lamp", "red sofa", "lamp"]
    path.write_text("".join(json.dumps({"query": query, "k": 10}) + "\n" for query in asked))
    return path


def test_queries_are_drawn_from_a_log_as_it_is_or_each_once_or_by_popularity(log):
    assert draw_queries(log, count=7, mix="log") == [
        "usb cable", "USB  Cable", "lamp", "red sofa", "lamp", "usb cable", "USB  Cable",
    ]  # fmt: skip
    distinct = draw_queries(log, count=10)
    assert sorted(distinct) == ["USB  Cable", "lamp", "red sofa"]  # two spellings are one query
    assert draw_queries(log, count=2) == distinct[:2]
    counted = [count for _, count in Counter(draw_queries(log, count=6000, mix="zipf")).most_common()]
    assert [count / 6000 for count in counted] == pytest.approx([6 / 11, 3 / 11, 2 / 11], abs=0.02)  # 1, 1/2, 1/3


def test_queries_are_the_same_each_time(tiny_data):
    pairs = tiny_data / "pairs.csv"
    for mix in ("distinct", "zipf"):
        assert draw_queries(pairs, count=48, mix=mix) == draw_queries(pairs, count=48, mix=mix)


def test_inputs_are_what_perf_analyzer_reads(tmp_path):
    asked = json.loads(write_tensor_input(["a"], tmp_path / "o.json", options='{"rerank": 20}').read_text("utf-8"))
    assert asked["data"] == [{"query": ["a"], "options": ['{"rerank": 20}']}]
    tensors = json.loads(write_tensor_input(["a", "ü"], tmp_path / "t.json").read_text("utf-8"))
    assert tensors == {"data": [{"query": ["a"]}, {"query": ["ü"]}]}
    rest = write_rest_input(["a"], tmp_path / "r.json", field="input", fixed={"model": "m"})
    assert json.loads(rest.read_text("utf-8")) == {"data": [{"payload": [{"model": "m", "input": "a"}]}]}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"count": 0}, ConfigError, "--count must be >= 1, got 0"),
        ({"count": 1, "mix": "zpif"}, ConfigError, "--mix must be one of distinct, zipf, log, got 'zpif'"),
    ],
)
def test_impossible_draws_are_refused(log, given, error, message):
    with pytest.raises(error, match=message):
        draw_queries(log, **given)


def test_a_file_without_queries_is_refused(tmp_path, tiny_data):
    with pytest.raises(DataError, match=r"column 'query' is missing in .*products\.csv"):
        draw_queries(tiny_data / "products.csv", count=1)
    (tmp_path / "empty.csv").write_text("query,k\n ,1\n")
    with pytest.raises(DataError, match="column 'query' must not be empty: 1 row is, the first is row 1"):
        draw_queries(tmp_path / "empty.csv", count=1)


BUSY_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
while time.process_time() < 0.5: pass
held = bytearray(50 * 2**20)
print("done", flush=True)
sys.stdin.read()
'''], stdin=subprocess.PIPE)
sys.stdin.read()
child.communicate()
"""


def test_cpu_time_and_memory_are_those_of_the_whole_tree():
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        usage = tree_usage(process.pid)
        process.communicate()
    assert usage.processes == 2
    assert 0.5 <= usage.cpu_s < 5
    assert usage.memory_mib > 50
    with pytest.raises(BenchError, match=f"process {process.pid} of the server does not run any more"):
        tree_usage(process.pid)


def test_a_server_is_described_by_what_serve_printed(tmp_path):
    path = tmp_path / "server.json"
    with pytest.raises(BenchError, match=r"--server must be what trident serve --json wrote.*No such file"):
        running(path)
    path.write_text('{"generation": "a", "serial": 1, "pid": 2, "http": "h:1"}')
    with pytest.raises(BenchError, match=r"with generation, pid, http, grpc: .*server\.json cannot be read .*'grpc'"):
        running(path)
    path.write_text('{"generation": "a", "serial": 1, "pid": 2, "http": "h:1", "grpc": "h:2", "metrics": "h:3"}')
    assert (running(path).generation, running(path).pid, running(path).grpc) == ("a", 2, "h:2")


def test_a_server_that_does_not_start_says_why(tmp_path):
    with (
        pytest.raises(BenchError, match=r"trident serve did not start: .*generation '0123456789abcdef' is not in"),
        started(tmp_path, "0123456789abcdef"),
    ):
        pass


def test_counters_of_what_is_no_triton_are_refused():
    (port,) = free_ports(1)
    with pytest.raises(ServerError, match=f"tritonserver at 127.0.0.1:{port} does not answer"):
        read_counters(f"127.0.0.1:{port}")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(BenchError, match="must answer with statistics of its models, got status 501"):
            read_counters(f"127.0.0.1:{server.server_address[1]}")


def test_stages_are_what_happened_between_two_readings():
    def counters(requests: int) -> dict[str, int]:
        times = {"queue": 2, "compute_input": 1, "compute_infer": 5, "compute_output": 1}
        return {part: requests * value * 10**6 for part, value in times.items()} | {
            "inferences": requests, "executions": requests // 4, "requests": requests, "failures": 0, "cache_hits": 0,
        }  # fmt: skip

    (stage,) = stages_between(
        {"encoder": counters(100), "embed": counters(8)}, {"encoder": counters(140), "embed": counters(8)}
    )
    assert (stage.model, stage.inferences, stage.executions, stage.mean_batch) == ("encoder", 40, 10, 4.0)
    assert (stage.queue_ms, stage.compute_infer_ms) == pytest.approx((2.0, 5.0))


def test_the_yardstick_counts_every_query(tiny_generations):
    yardstick = Yardstick.load(find_generation(tiny_generations), threads=1)
    points = measure_yardstick(yardstick, ["crimson kettle", "navy sofa"], batches=(1, 5), threads=1, window_s=0.2)
    assert [(point.batch, point.way) for point in points] == [(1, "plain"), (1, "tuned"), (5, "plain"), (5, "tuned")]
    for point in points:
        # one thread: a batch takes the time that its searches take
        assert point.searches_per_s == pytest.approx(point.batch * 1000 / point.p50_ms, rel=0.9)
        assert 0 < point.cpu_s_per_1000 <= 1.2 * 1000 / point.searches_per_s
        assert point.p50_ms <= point.p99_ms


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rounds": 0}, "rounds and threads must be >= 1, got 0 and"),
        ({"batches": ()}, "batches must be >= 1, at least one of them"),
        ({"batches": (0,)}, "batches must be >= 1, at least one of them"),
        ({"protocols": ("grpc", "rest")}, "--protocol must be one of grpc, http, got 'rest'"),
        ({"modes": ("hybrid", "sparse")}, "--mode must be one of hybrid, dense, lexical, got 'sparse'"),
        ({"clients": ()}, "there must be --clients or --rates to measure"),
    ],
)
def test_impossible_benchmarks_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        BenchConfig(queries=Path("pairs.csv"), **given)


@pytest.mark.parametrize(("option", "kind"), [("--clients", "whole numbers"), ("--rates", "numbers")])
def test_numbers_that_are_none_are_wrong_usage(run_trident, tiny_data, option, kind):
    done = run_trident("bench", "--queries", tiny_data / "pairs.csv", option, "1,x")
    assert done.returncode == 2
    assert done.stderr == f"trident: {option} takes {kind} such as 1,8,32, got '1,x'\n"

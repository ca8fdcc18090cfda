"""What perf_analyzer is told, what is read of its report, and which program is taken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trident.bench.perf_analyzer import Load, PerfAnalyzer, Target, read_report
from trident.errors import BenchError, ConfigError

# As perf_analyzer 2.60.0 wrote it (-f, --verbose-csv).
REPORT = """Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency,\
request/response,response wait
8,415.274,11,12151,1,204,5373,1371,25,15718,33700,43516,70923,19139,36,19039
"""


def test_a_report_is_read_in_milliseconds():
    found = read_report(REPORT, generator_cpu_s=0.5)
    assert found.searches_per_s == pytest.approx(415.274)
    assert (found.p50_ms, found.p90_ms, found.p95_ms) == pytest.approx((15.718, 33.7, 43.516))
    assert (found.p99_ms, found.mean_ms, found.generator_cpu_s) == pytest.approx((70.923, 19.139, 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REPORT.splitlines()[0], "must report one load, got 0"),
        (REPORT + REPORT.splitlines()[1], "must report one load, got 2"),
        (REPORT.replace("p99 latency", "p98 latency"), "has no number under 'p99 latency'"),
        (REPORT.replace("415.274", "n/a"), "has no number under 'Inferences/Second'"),
        (REPORT[:-30], "has no number under 'Avg latency'"),
    ],
)
def test_another_report_is_refused(text, message):
    with pytest.raises(BenchError, match=message):
        read_report(text, generator_cpu_s=0.0)


def test_loads_and_targets_become_options():
    assert Load(clients=8).options() == ["--concurrency-range", "8"]
    assert Load(rate_per_s=40.5).options() == ["--request-rate-range", "40.5", "--request-distribution", "poisson"]
    assert (str(Load(clients=1)), str(Load(clients=8)), str(Load(rate_per_s=40))) == ("1 client", "8 clients", "40/s")
    assert Target(url="h:1", protocol="grpc").options() == ["-m", "search", "-u", "h:1", "-i", "grpc"]
    rest = Target(url="h:1", protocol="rest", endpoint="find").options()
    assert rest == ["-m", "search", "-u", "http://h:1", "--service-kind", "openai", "--endpoint", "find", "--async"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Load(), "a load is clients or a rate, got clients None and rate None"),
        (lambda: Load(clients=1, rate_per_s=1.0), "a load is clients or a rate, got clients 1 and rate 1.0"),
        (lambda: Load(clients=0), "a load must be > 0"),
        (lambda: Load(rate_per_s=-1.0), "a load must be > 0"),
        (lambda: Target(url="h:1", protocol="ftp"), "protocol must be one of grpc, http, rest, got 'ftp'"),  # type: ignore[arg-type]
    ],
)
def test_impossible_loads_and_targets_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_window_that_is_too_short_is_refused(tmp_path):
    target = Target(url="127.0.0.1:1", protocol="grpc")
    with pytest.raises(ConfigError, match=r"window_s must be >= 0.1, got 0.01"):
        PerfAnalyzer(("false",)).measure(target, Load(clients=1), tmp_path / "queries.json", window_s=0.01)


def test_a_program_that_fails_is_named_with_its_own_words(tmp_path):
    program = (sys.executable, "-c", "import sys; sys.exit('no such server')")
    target = Target(url="127.0.0.1:1", protocol="grpc")
    with pytest.raises(BenchError, match=r"failed \(status 1\) with 1 client on grpc 127.0.0.1:1: no such server"):
        PerfAnalyzer(program).measure(target, Load(clients=1), tmp_path / "queries.json", window_s=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "does not exist"),
        (lambda path: path.write_bytes(b"no program") and path, "cannot be run (Permission denied)"),
        (lambda path: _script(path, "#!/bin/sh\necho too old >&2\nexit 3\n"), "does not run (too old)"),
        (lambda path: _script(path, "#!/bin/sh\nexit 3\n"), "does not run (status 3)"),
    ],
)
def test_a_named_program_that_does_not_run_is_refused(run_trident, tiny_data, tmp_path, make, message):
    program = make(tmp_path / "perf_analyzer")
    done = run_trident("bench", "--queries", tiny_data / "pairs.csv", TRIDENT_PERF_ANALYZER=str(program))
    assert done.returncode == 1
    assert done.stderr == (
        f"trident: no perf_analyzer that runs (from TRIDENT_PERF_ANALYZER): {program} {message}; run make "
        "perf-analyzer, or name one with TRIDENT_PERF_ANALYZER\n"
    )


def test_a_script_on_the_path_that_hides_the_exit_status_is_passed_over(run_trident, tiny_data, tmp_path):
    _script(tmp_path / "perf_analyzer", "#!/bin/sh\nexit 0\n")
    done = run_trident(
        "bench", "--queries", tiny_data / "pairs.csv", PATH=f"{tmp_path}:/usr/bin:/bin", XDG_CACHE_HOME=str(tmp_path)
    )
    assert done.returncode == 1
    assert f"{tmp_path}/trident/perf-analyzer-2.60.0/perf_analyzer does not exist; run make" in done.stderr
    assert f"{tmp_path}/perf_analyzer" not in done.stderr


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path

"""Tuned settings on a real server: what it runs, through promotions and deaths; and ``trident tune`` itself."""

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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trident.errors import GenerationError
from trident.generation.generation import find_generation
from trident.generation.pbtxt import with_setting
from trident.generation.state import ServingFolder
from trident.generation.tuned_settings import Machine, TunedSettings, settings_path
from trident.generation.tuning import Tuning
from trident.probe.golden_check import check_serving
from trident.promotion.promotion import PromoteOptions, promote, rollback
from trident.server.server import free_ports

TUNING = Tuning(
    instances=1,
    threads=2,
    index_threads=2,
    lone_threads=1,
)
HERE = Machine.here()
RESTART_TIMEOUT_S = 60.0


def save(generations: Path, machine: Machine, settings: Tuning = TUNING) -> None:
    found = TunedSettings(
        settings=settings,
        variant="cpu",
        machine=machine,
        generation="0" * 16,
        tuned_at="2026-11-25T12:00:00Z",
        measured={},
    )
    found.save(settings_path(generations, machine))


def settings_of(http: str) -> Tuning:
    """Return the settings that Triton says it runs."""
    connection = http_client(http)
    connection.request("GET", "/v2/models/pipeline/config")
    found = json.loads(connection.getresponse().read())
    connection.close()
    parameters = found["parameters"]
    return Tuning(
        instances=sum(group["count"] for group in found["instance_group"]),
        threads=int(parameters["threads"]["string_value"]),
        index_threads=int(parameters["index_threads"]["string_value"]),
        lone_threads=int(parameters["lone_threads"]["string_value"]),
    )


def http_client(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url, timeout=10)


@contextmanager
def served(generations: Path, generation: str, log: Path, *options: str) -> Iterator[dict[str, Any]]:
    """Yield what ``trident serve`` printed when it was ready."""
    ports = zip(("http", "grpc", "metrics"), free_ports(3), strict=True)
    command = [sys.executable, "-m", "trident", "serve", "--generations", str(generations), "--json", *options]
    command += ["--generation", generation, *(f"--{name}-port={port}" for name, port in ports)]
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline() or log.read_text())
        finally:
            process.terminate()


def test_a_server_runs_what_was_tuned_through_promotions_and_deaths(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path / "generations")
    save(own.folder, HERE)
    with served(own.folder, own.a.id, tmp_path / "log") as document:
        assert f"tuned settings of 2026-11-25 (generation {'0' * 16}): {TUNING}" in (tmp_path / "log").read_text()
        assert document["tuning"] == TUNING.changes()
        http_url, port = document["http"], int(document["http"].rpartition(":")[2])
        assert settings_of(http_url) == TUNING
        promote(own.folder, port, own.b.id, PromoteOptions(), report=lambda _: None)
        assert settings_of(http_url) == TUNING
        assert check_serving(own.folder, http_url).generation == own.b.id
        save(own.folder, HERE, Tuning(threads=2))  # tuned again meanwhile: for the next start
        folder = ServingFolder.of(own.folder, port)
        record = folder.server()
        assert record is not None
        os.kill(record.tritonserver_pid, signal.SIGKILL)
        deadline = time.monotonic() + RESTART_TIMEOUT_S
        while (again := folder.server()) is None or again.tritonserver_pid == record.tritonserver_pid:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert settings_of(http_url) == TUNING == again.tuning
        assert rollback(own.folder, port, report=lambda _: None).generation == own.a.id

        path = folder.models / "pipeline" / "config.pbtxt"
        path.write_text(with_setting(path.read_text(), "parameters.lone_threads", 2))
        with pytest.raises(GenerationError, match=r"its pipeline/config\.pbtxt must be the one that the server runs"):
            promote(own.folder, port, own.b.id, PromoteOptions(), report=lambda _: None)


def test_settings_of_another_machine_are_left_alone(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path / "generations")
    save(own.folder, replace(HERE, cores=HERE.cores + 1))
    with served(own.folder, own.a.id, tmp_path / "log") as document:
        said = f"no tuned settings for cpu with {HERE.cores} cores (there are those for cpu with {HERE.cores + 1})"
        assert said in (tmp_path / "log").read_text()
        assert document["tuning"] == {}
        assert settings_of(document["http"]) == Tuning(
            instances=2,
            threads=1,
            index_threads=1,
            lone_threads=2,
        )


@pytest.fixture
def own_generations(tiny_generations: Path, tmp_path: Path) -> Path:
    """Return a folder with a copy of the tiny generation."""
    found = find_generation(tiny_generations)
    shutil.copytree(found.folder, tmp_path / "generations" / found.id)
    return tmp_path / "generations"


QUICK = ("--window", "0.4", "--clients", "4", "--count", "40", "--knob", "index_threads", "--rounds", "5")


@pytest.mark.usefixtures("perf_analyzer")
def test_settings_are_searched_proven_and_written(run_warm, own_generations, tiny_data, tmp_path) -> None:
    done = run_warm(
        "tune", "--queries", tiny_data / "pairs.csv", "--generations", own_generations, *QUICK, "--json",
        "--out", tmp_path / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["decided"]
    path = settings_path(own_generations, HERE)
    assert report["written"] == str(path)
    found = TunedSettings.load(path)
    assert found.settings.changes() == report["best"]
    assert (found.machine, found.generation) == (HERE, find_generation(own_generations).id)
    tried = [trial["tuning"] for trial in report["trials"] if trial["round"] is None]
    assert tried == [{}, {"index_threads": 2}, {}]
    assert [trial["fault"] for trial in report["trials"] if trial["fault"]] == []
    assert all(trial["figures"]["searches_per_s"] > 0 for trial in report["trials"])
    if report["finalists"]:  # where it came near
        assert [each["tuning"] for each in report["finalists"]] == [{}, {"index_threads": 2}]
        assert len(report["trials"]) == 3 + 5 * 2
        fastest = report["finalists"][1]
        assert report["best"] == ({"index_threads": 2} if fastest["is_better"] else {})
        assert fastest["won"] == 5 or not fastest["is_better"]
    assert sorted(each.name for each in own_generations.iterdir()) == [".tuning", found.generation]


@pytest.mark.usefixtures("perf_analyzer")
def test_a_bound_that_nothing_keeps_and_a_search_that_is_interrupted(
    run_warm, own_generations, tiny_data, tmp_path
) -> None:
    given = ("tune", "--queries", tiny_data / "pairs.csv", "--generations", own_generations, *QUICK)
    done = run_warm(*given, "--minutes", "0.01", "--p99-ms", "0.01")
    assert done.returncode == 1
    assert "trident: no settings keep p99 within 0.01 ms: the lowest that was seen is " in done.stderr
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen([sys.executable, "-m", "trident", *map(str, given)], stdout=log, stderr=log) as process,
    ):
        while "trial 1: as exported: " not in (tmp_path / "log").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        process.terminate()  # as Ctrl-C; that does not reach what a shell has started in the background
        assert process.wait(timeout=60) == 0
    said = (tmp_path / "log").read_text()
    assert "interrupted: what is known by now counts" in said
    assert "not decided: the time was not enough to tell, at " in said
    assert [each.name for each in own_generations.iterdir()] == [find_generation(own_generations).id]


@pytest.mark.parametrize(
    ("options", "environment", "status", "message"),
    [
        ((), {"TRIDENT_PERF_ANALYZER": "/nowhere"}, 1, "no perf_analyzer that runs (from TRIDENT_PERF_ANALYZER): "),
        (("--p99-ms", "-1"), {}, 2, "--p99-ms must be > 0, got -1"),
        (("--minutes", "0"), {}, 2, "--minutes must be > 0, got 0"),
        (("--knob", "ef"), {}, 2, "--knob must be one of instances, "),
    ],
)
def test_what_cannot_be_searched_is_refused_before_a_server_starts(
    run_warm, own_generations, tiny_data, options, environment, status, message
) -> None:
    given = ("tune", "--queries", tiny_data / "pairs.csv", "--generations", own_generations)
    done = run_warm(*given, *options, **environment)
    assert done.returncode == status
    assert done.stderr.startswith(f"trident: {message}")
    assert len(done.stderr.splitlines()) == 1

"""What does not serve is unloaded, whole, and its memory is given back; what an ensemble answers with is not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ServerError
from trident.probe.running import find_running
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.server.ensembles import add_candidate, point_ensembles
from trident.server.server import TritonServer

QUIET = PromoteOptions()


def silent(line: str) -> None:
    """Report nothing."""


def memory_bytes(server: TritonServer) -> int:
    """Return the memory of the server and its models' processes, what they share counted once."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(") ")[2].split()[2]) == server.pid:
                rollup = (stat.parent / "smaps_rollup").read_text()
                total += 1024 * int(rollup.partition("\nPss:")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def test_retiring_stops_the_models_processes(server: TritonServer, own: Any, port: int) -> None:
    def processes() -> int:
        found = subprocess.run(["ps", "--ppid", str(server.pid), "-o", "pid="], capture_output=True, text=True)
        return len(found.stdout.split())

    before = processes()
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    assert processes() == before + 2  # the pipeline's instances
    retire(own.folder, port, grace_s=0)
    assert processes() == before


def test_retiring_unloads_a_candidate_and_parts_that_were_left(server: TritonServer, own: Any, port: int) -> None:
    """As a promotion leaves them that was killed before it had made everything."""
    running = find_running(own.folder, port)
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    add_candidate(running.folder.models, own.b, variant="cpu")
    running.control.load("candidate")
    running.control.wait_until_ready("candidate", own.b.serial)
    shutil.rmtree(running.folder.models / "retriever" / str(own.a.serial))
    assert retire(own.folder, port, grace_s=0) == [own.a.serial]
    assert running.control.loaded("candidate") == set()
    assert running.control.loaded("pipeline") == {own.b.serial}


def test_what_an_ensemble_answers_with_is_not_unloaded(server: TritonServer, own: Any, port: int) -> None:
    running = find_running(own.folder, port)
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    point_ensembles(running.folder.models, own.a, variant="cpu", cache=False)
    running.control.load("embed")
    with pytest.raises(ServerError, match=f"'embed' must answer with version {own.b.serial} before others are unload"):
        retire(own.folder, port, grace_s=0)
    assert running.control.loaded("pipeline") == {own.a.serial, own.b.serial}


def test_memory_is_given_back(server: TritonServer, own: Any, port: int) -> None:
    """The models of a generation are processes of their own: with them goes what they had."""
    for generation in (own.b, own.a):  # what the server itself needs for a second version stays with it
        promote(own.folder, port, generation.id, QUIET, report=silent)
        retire(own.folder, port, grace_s=0)
    before = memory_bytes(server)
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    assert memory_bytes(server) > 1.3 * before
    retire(own.folder, port, grace_s=0)
    assert memory_bytes(server) <= 1.15 * before

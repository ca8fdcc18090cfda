"""A starting server comes further while it writes, reads, grows or starts processes; one that hangs does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trident.processes.loading import READ_BYTES, Loading

OBEYS = """
import subprocess, sys
held = []
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""
WAIT_S = 0.2

Order = Callable[[str], None]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-S", "-c", OBEYS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as found:
        yield found
        found.kill()


@pytest.fixture
def order(process: subprocess.Popen[str]) -> Order:
    def obey(line: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    return obey


@pytest.fixture
def loading(process: subprocess.Popen[str], order: Order) -> Loading:
    """Return what a process that waits has done so far, after a while in which it has done nothing."""
    order("pass")
    found = Loading(process.pid)
    assert found.idle_s(10) < WAIT_S
    time.sleep(WAIT_S)
    assert found.idle_s(10) >= WAIT_S
    return found


def test_a_log_that_grows_is_progress(loading: Loading) -> None:
    assert loading.idle_s(11) < WAIT_S


def test_reading_is_progress(loading: Loading, order: Order, tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(bytes(READ_BYTES))
    order(f"file = open({str(tmp_path / 'index')!r}, 'rb', buffering=0); [file.read(65536) for _ in range(32)]")
    assert loading.idle_s(10) >= WAIT_S, "half of it is what an idle server reads in ten minutes"
    order("[file.read(65536) for _ in range(40)]")
    assert loading.idle_s(10) < WAIT_S


def test_growing_is_progress(loading: Loading, order: Order) -> None:
    order("held.append(b'x' * 8_000_000)")
    assert loading.idle_s(10) < WAIT_S


def test_a_new_process_is_progress(loading: Loading, order: Order) -> None:
    order("child = subprocess.Popen([sys.executable, '-S', '-c', 'input()'], stdin=subprocess.PIPE)")
    assert loading.idle_s(10) < WAIT_S
    order("child.kill(); child.wait()")
    assert loading.idle_s(10) < WAIT_S


def test_a_process_that_has_ended_comes_no_further(loading: Loading, process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert loading.idle_s(10) >= WAIT_S

"""The query log: several writers, a limit on its size, a full disk; and what is read back."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError
from trident.watch.options import WatchOptions
from trident.watch.query_log import append

PARTIAL = """
import resource, signal, sys
from pathlib import Path
from trident.watch.query_log import append
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
path = Path(sys.argv[1])
append(path, b"a" * 99 + b"\\n", max_bytes=10**6)
try:
    append(path, b"b" * 99 + b"\\n", max_bytes=10**6)
except OSError as error:
    print(error)
"""
VARIABLES = """
from trident.errors import TridentError
from trident.watch.options import WatchOptions
try:
    print(WatchOptions.from_environment())
except TridentError as error:
    print(error)
"""


def write_many(path: Path, writer: int) -> None:
    for number in range(200):
        append(path, json.dumps({"query": f"{writer} {number}"}).encode() + b"\n", max_bytes=2000)


def test_writers_share_it_and_it_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    files = [path, tmp_path / "queries.jsonl.1"]
    assert sorted(tmp_path.iterdir()) == files
    assert all(0 < file.stat().st_size <= 2000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    lines = [json.loads(line)["query"] for file in files[::-1] for line in file.read_text().splitlines()]
    for writer in range(3):  # each writer's last lines are there, whole and in order
        own = [int(line.split()[1]) for line in lines if line.startswith(f"{writer} ")]
        assert own == sorted(own)
    assert max(int(line.split()[1]) for line in lines) == 199


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    program = [sys.executable, "-c", PARTIAL, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "only 50 of 100 bytes could be written\n"
    assert path.read_bytes() == b"a" * 99 + b"\n"


def told(**variables: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRIDENT_")} | variables
    program = [sys.executable, "-c", VARIABLES]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_options_go_through_the_environment(tmp_path: Path) -> None:
    for options in (
        WatchOptions(),
        WatchOptions(canary_share=0.05, query_log=tmp_path / "log.jsonl", query_log_bytes=1000),
    ):
        assert told(**options.environment()) == str(options)
    assert told() == str(WatchOptions())
    assert told(TRIDENT_CANARY_SHARE="much").startswith("TRIDENT_CANARY_SHARE and TRIDENT_QUERY_LOG_BYTES must be num")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canary_share": 1.5}, "--canary-share must be 0 to 1, got 1.5"),
        ({"canary_share": float("nan")}, "--canary-share must be 0 to 1, got nan"),
        ({"query_log_bytes": 0}, "the query log must hold at least 1 byte, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WatchOptions(**options)

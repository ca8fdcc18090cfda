"""The server under test: one that is started for the measurement, or one that runs already."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trident.errors import BenchError
from trident.server import free_ports

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
FIELDS = ("generation", "pid", "http", "grpc")


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server: what ``trident serve --json`` prints of it."""

    generation: str
    pid: int  # CPU time and memory are those of this process and its descendants
    http: str  # HOST:PORT
    grpc: str


@contextmanager
def started(generations: Path, generation: str, options: Sequence[str] = ()) -> Iterator[Served]:
    """Yield a ``trident serve`` of its own on free ports, and stop it at the end.

    Args:
        generations: The folder of generations.
        generation: Id.
        options: Further options of ``trident serve``.

    Raises:
        BenchError: If it does not start; its own words are in the message.
    """
    http_port, grpc_port, metrics_port = map(str, free_ports(3))
    ports = ["--http-port", http_port, "--grpc-port", grpc_port, "--metrics-port", metrics_port]
    command = [sys.executable, "-m", "trident", "serve", "--json", "--generations", str(generations)]
    command += ["--generation", generation, *ports, *options]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
            line = process.stdout.readline() if ready else b""
            if not line:
                log.seek(0)
                said = " ".join(log.read().split()) or f"it was not ready within {START_TIMEOUT_S:g} s"
                raise BenchError(f"trident serve did not start: {said}")
            document = json.loads(line)
            # Of the whole of it, the process that started tritonserver included.
            yield Served(**{name: document[name] for name in FIELDS} | {"pid": process.pid})
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def running(path: Path) -> Served:
    """Return the server that a file describes: what ``trident serve --json > FILE`` wrote.

    Raises:
        BenchError: If the file cannot be read or lacks a field.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        return Served(**{name: document[name] for name in FIELDS})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"--server must be what trident serve --json wrote, with {', '.join(FIELDS)}: {path} cannot be read "
            f"({error!r})"
        ) from error

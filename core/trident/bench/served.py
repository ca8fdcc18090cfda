"""The server under test: one that is started for the measurement, or one that runs already."""

from __future__ import annotations

import json
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.errors import BenchError
from trident.generation.state import ServingFolder
from trident.server.server import free_ports

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
    tuning: dict[str, int] = field(default_factory=dict)  # settings that are not as exported

    @classmethod
    def of(cls, document: dict[str, Any]) -> Served:
        """Return the server of a document of ``trident serve --json``."""
        return cls(**{name: document[name] for name in FIELDS}, tuning=document.get("tuning", {}))


@contextmanager
def started(
    generations: Path, generation: str, options: Sequence[str] = (), *, ports: Sequence[int] | None = None
) -> Iterator[Served]:
    """Yield a ``trident serve`` of its own, and stop it at the end; what it kept of its port is removed.

    Args:
        generations: The folder of generations.
        generation: Id.
        options: Further options of ``trident serve``.
        ports: HTTP, gRPC and metrics; None: free ones.

    Raises:
        BenchError: If it does not start; its own words are in the message.
    """
    http_port, grpc_port, metrics_port = ports or free_ports(3)
    listening = [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
    command = [sys.executable, "-m", "trident", "serve", "--json", "--generations", str(generations)]
    command += ["--generation", generation, *listening, *options]
    with (
        _no_trace(generations, http_port),
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(  # in a group of its own: Ctrl-C reaches it once, by the signal below
            command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, process_group=0
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
            line = process.stdout.readline() if ready else b""
            if not line:
                log.seek(0)
                said = " ".join(log.read().split()) or f"it was not ready within {START_TIMEOUT_S:g} s"
                raise BenchError(f"trident serve did not start: {said}")
            # Of the whole of it, the process that started tritonserver included.
            yield Served.of(json.loads(line) | {"pid": process.pid})
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _no_trace(generations: Path, http_port: int) -> Iterator[None]:
    """Remove the folder of a port at the end, unless another server has left it."""
    folder = ServingFolder.of(generations, http_port).path
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # other servers have theirs there
                folder.parent.rmdir()


def running(path: Path) -> Served:
    """Return the server that a file describes: what ``trident serve --json > FILE`` wrote.

    Raises:
        BenchError: If the file cannot be read or lacks a field.
    """
    try:
        return Served.of(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"--server must be what trident serve --json wrote, with {', '.join(FIELDS)}: {path} cannot be read "
            f"({error!r})"
        ) from error

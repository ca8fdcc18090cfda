"""A live catalogue: what tests ask it, and ``trident serve --live``, which starts a tritonserver that died again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trident.generation.state import ServingFolder
from trident.server.server import free_ports
from trident_client import SearchClient

STOP_S = 60
TITLE = "Alba kettle red"


def found(client: SearchClient, query: str, k: int = 300) -> dict[str, str]:
    """Return the titles of what a search finds, by id."""
    return {hit.product_id: hit.title for hit in client.search(query, k=k).hits}


@contextmanager
def served(folder: Path, generation: str) -> Iterator[tuple[int, str]]:
    """Run it over a folder of generations; yield its HTTP port and gRPC address."""
    ports = free_ports(3)
    names = ("--http-port", "--grpc-port", "--metrics-port")
    options = [text for name, port in zip(names, ports, strict=True) for text in (name, str(port))]
    command = [sys.executable, "-m", "trident", "serve", "--live", "--generations", folder, "--generation", generation]
    process = subprocess.Popen([*command, *options, "--start-timeout", "400"], start_new_session=True)
    try:
        yield ports[0], f"127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        process.wait(STOP_S)


def pid_of_another(folder: ServingFolder, dead: int, *, within_s: float) -> int:
    """Return the PID of a tritonserver that is ready and another than one that died."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        record = folder.server()
        if record is not None and record.tritonserver_pid != dead:
            return record.tritonserver_pid
        time.sleep(0.1)
    raise AssertionError("the server did not come back")

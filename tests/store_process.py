"""The engine's stand-in as a process: started, killed, paused and started again over the same folder and port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trident.cluster.store import Store
from trident.generation.generation import MANIFEST_FILE, Generation, write_manifest

START_S = 300.0  # of a machine that does other work


class StandIn:
    """``store_stand_in.py`` over a folder; it is stopped by its process id.

    Args:
        folder: Where the products are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it listens."""
        program = Path(__file__).parent / "store_stand_in.py"
        # -P: tests/ is no place to import from
        self.process = subprocess.Popen([sys.executable, "-P", str(program), str(self.folder), str(self.port)])
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, "the stand-in ended"
                assert time.monotonic() < deadline, "the stand-in does not listen"
                time.sleep(0.05)
            else:
                return

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def takes(self, generation: Generation, *, timeout_s: float = 30.0) -> Generation:
        """Make a generation as an export with ``--store`` does: it names this store."""
        Store(address=self.address, timeout_s=timeout_s).save(generation.version_folder("retriever"))
        (generation.folder / MANIFEST_FILE).unlink()  # else it would record itself
        write_manifest(generation.folder, generation.manifest)
        return Generation.load(generation.folder)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def running(folders: Any) -> Iterator[StandIn]:
    """Yield one over a folder of pytest's ``tmp_path_factory``, and end it."""
    made = StandIn(folders.mktemp("store"))
    yield made
    made.kill()

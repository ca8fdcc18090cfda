"""Begins a compaction when the tail is half full, as a process of its own at low priority, and promotes what it made.

``trident serve --live --auto-compact`` has one. One at a time; where one fails, the next waits, longer each time.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from trident.errors import LiveError, TridentError
from trident.generation.generation import generation_by_id
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.journal.leader import Leader
from trident.live.compactions import Compactions
from trident.live.vectors import rows_taken

SHARE = 0.5  # of the tail's limit
LOOK_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 300.0, 86_400.0  # after a failure, doubled with each in a row
NICE = 19
GRACE_S = 60.0  # until what served before is unloaded
RETAINED = 2  # compacted generations that stay on the disk, beside what serves, served before or was exported
LOG_FILE = "compaction.log"
TAIL_BYTES = 4000
# Runs trident in this process, which the kernel stops when the thread that started it dies, by SIGKILL too.
LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.nice(int(sys.argv[2]))
os.execv(sys.executable, [sys.executable, "-m", "trident", *sys.argv[3:]])
"""

logger = logging.getLogger(__name__)


class CompactionByItself:
    """Looks at the tail of what serves, and compacts it; a context.

    Args:
        generations: The folder of generations.
        http_port: Of the server.
        report: Called with a line where one begins, serves or fails.
        share: Of the tail's limit at which it begins.
    """

    def __init__(
        self, generations: Path, http_port: int, *, report: Callable[[str], None], share: float = SHARE
    ) -> None:
        """Look at nothing yet."""
        self._generations, self._http_port, self._report, self._share = generations, http_port, report, share
        self._folder, self._serving = LiveFolder.of(generations), ServingFolder.of(generations, http_port)
        self._not_before = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compaction", daemon=True)

    def __enter__(self) -> CompactionByItself:
        """Look from now on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more; a compaction under way is stopped, which changes nothing."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> bool:
        """Compact if it is time, and return whether it was.

        Raises:
            TridentError: If it cannot be seen whether it is.
        """
        state, leader = self._serving.state(), Leader.read(self._folder.path)
        if leader is not None and not leader.is_at(self._serving):  # another server writes, and compacts
            return False
        if state is None or time.monotonic() < self._not_before:
            return False
        generation = generation_by_id(self._generations, state.serving)
        used, limit = rows_taken(self._folder.vectors(generation.manifest.encoder_fingerprint, generation.id))
        if not used or used < self._share * limit:
            return False
        self._report(f"the tail has {used:,} of {limit:,} vectors: compacting generation {generation.id}")
        fault = self._compact(generation.id)
        if self._stopping.is_set():
            return True
        before = Compactions.read(self._folder)
        if fault is None:
            before.succeeded(self._folder)
            self._report(f"generation {generation.id} is compacted")
            return True
        failures = before.failed(self._folder, fault).failures
        wait_s = min(FIRST_WAIT_S * 2.0 ** (failures - 1), LONGEST_WAIT_S)
        self._not_before = time.monotonic() + wait_s
        self._report(f"the compaction failed, {failures:,} in a row ({fault}); the next one in {wait_s:g} s")
        return True

    def _compact(self, began: str) -> str | None:
        """Return why a compaction of a generation did not come to serve; None: another generation serves."""
        options = ["--generations", str(self._generations), "--http-port", str(self._http_port), "--promote"]
        options += ["--retain", str(RETAINED), "--grace", f"{GRACE_S:g}"]
        started = [sys.executable, "-c", LAUNCH, str(os.getpid()), str(NICE), "catalogue", "compact", *options]
        path = self._folder.path / LOG_FILE
        with path.open("wb") as log:
            process = subprocess.Popen(started, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            while (status := process.poll()) is None:
                if self._stopping.wait(0.2):
                    process.terminate()
                    process.wait()
                    return "stopped"
        state = self._serving.state()
        if state is not None and state.serving != began:  # whoever else may have waited for the process
            return None
        lines = path.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip().splitlines()
        return f"status {status}: {lines[-1] if lines else 'it said nothing'}"

    def _run(self) -> None:
        said = ""
        while not self._stopping.wait(LOOK_S):
            try:
                self.look()
            except (TridentError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    logger.warning("%s", LiveError(f"no compaction begins by itself: {said}"))

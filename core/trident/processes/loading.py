"""Whether a starting server comes any further: its log grows, its processes read, or hold more than they ever did.

A large index takes as long as its disk does. A server that hangs writes nothing, and reads next to nothing: the
counters that its metrics look at every two seconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from trident.processes.model_processes import children

READ_BYTES = 4 * 2**20  # an idle tritonserver that is asked whether it is ready reads as much in twenty minutes
HELD_BYTES = 2**20


@dataclass
class Loading:
    """What a server has done so far; ask ``idle_s`` again and again.

    Args:
        pid: Of the tritonserver; its models are processes that it has started.
    """

    pid: int
    _log_bytes: int = field(default=0, init=False)
    _read_bytes: int = field(default=0, init=False)
    _held_bytes: int = field(default=0, init=False)
    _processes: int = field(default=0, init=False)
    _moved_at: float = field(default_factory=time.monotonic, init=False)

    def idle_s(self, log_bytes: int) -> float:
        """Return the seconds since the server last came further.

        Args:
            log_bytes: How long its log is now.
        """
        pids = [self.pid, *children(self.pid)]
        read, held = sum(map(_read, pids)), sum(map(_held, pids))
        if (
            log_bytes > self._log_bytes
            or len(pids) > self._processes
            or read >= self._read_bytes + READ_BYTES
            or held >= self._held_bytes + HELD_BYTES
        ):
            self._moved_at = time.monotonic()
            self._log_bytes = max(log_bytes, self._log_bytes)
            self._processes = max(len(pids), self._processes)
            self._read_bytes, self._held_bytes = max(read, self._read_bytes), max(held, self._held_bytes)
        return time.monotonic() - self._moved_at


def _read(pid: int) -> int:
    """Return the bytes that a process has read, from the page cache too; 0 where that may not be looked at."""
    try:
        return int(Path(f"/proc/{pid}/io").read_text().split()[1])  # rchar
    except (OSError, ValueError, IndexError):
        return 0


def _held(pid: int) -> int:
    """Return the bytes of a process that are in memory, of mapped files too; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0

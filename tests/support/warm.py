"""Programs in forks of an interpreter that has everything imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}  # for processes


class WarmPython:
    """Runs programs in forks of one interpreter that has imported PyTorch and us: real processes that start at once.

    Args:
        folder: Where it keeps what they print.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = 0
        self.printed: dict[int, dict[str, str]] = {}  # PID -> stdout, stderr -> file
        self.process = subprocess.Popen(
            # -P: tests/triton is not PyTorch's triton
            [sys.executable, "-P", Path(__file__).parents[1] / "warm_python.py"],
            env=os.environ | OFFLINE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, *arguments: str | Path, **environment: str) -> int:
        """Return the PID of a process that runs ``python`` with the given arguments, ``-m`` or ``-c`` first."""
        self.started += 1
        printed = {name: str(self.folder / f"{self.started}-{name}") for name in ("stdout", "stderr")}
        order = {"arguments": [str(argument) for argument in arguments], "folder": str(Path.cwd())}
        pid = self._ask(order | printed | {"environment": os.environ | OFFLINE | environment})
        self.printed[pid] = printed
        return pid

    def finish(self, pid: int) -> subprocess.CompletedProcess[str]:
        """Return what a process printed, and its exit status, negative for the signal that ended it."""
        stopping = threading.Timer(300, os.kill, (pid, signal.SIGTERM))  # not the signal that tests kill with
        stopping.start()
        try:
            status = self._ask({"wait": pid})
        finally:
            stopping.cancel()
        printed = {name: Path(path).read_text("utf-8") for name, path in self.printed.pop(pid).items()}
        return subprocess.CompletedProcess(str(pid), status, **printed)

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``python`` with the given arguments to its end."""
        return self.finish(self.start(*arguments, **environment))

    def _ask(self, order: dict[str, object]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        return int(self.process.stdout.readline())

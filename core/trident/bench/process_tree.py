"""CPU time and memory of a server with all the processes it started."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psutil

from trident.errors import BenchError

MIB = 2**20


@dataclass(frozen=True)
class TreeUsage:
    """What the processes of a tree have used."""

    cpu_s: float  # user and system, since each was started
    memory_mib: float  # resident; what processes share is divided among them (PSS)
    processes: int


def tree_usage(pid: int) -> TreeUsage:
    """Return the CPU seconds and the memory of a process and its descendants.

    CPU time of descendants that have ended is counted as far as their parents waited for them.

    Raises:
        BenchError: If the process does not exist.
    """
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess as error:
        raise BenchError(f"process {pid} of the server does not run any more") from error
    cpu_s, memory, counted = 0.0, 0, 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # ended since it was listed
            times = process.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
            memory += process.memory_full_info().pss
            counted += 1
    return TreeUsage(cpu_s=cpu_s, memory_mib=memory / MIB, processes=counted)

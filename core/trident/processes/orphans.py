"""Waits for processes that nobody else waits for: those that come to process 1, or to another that adopts orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os

from trident.processes.model_processes import children

PR_GET_CHILD_SUBREAPER = 37


def adopts_orphans() -> bool:
    """Return whether processes whose parent died become this one's."""
    adopts = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)
    return os.getpid() == 1 or adopts.value != 0


def reap_orphans(own: int) -> None:
    """Wait for every child that has ended, but for one that somebody here waits for.

    Args:
        own: The process id of that one.
    """
    for pid, state in children(os.getpid()).items():
        if state == "Z" and pid != own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def reap_group(group: int) -> None:
    """Wait for what has ended of a process group, as far as it is this process's own."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass

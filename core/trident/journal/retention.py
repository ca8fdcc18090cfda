"""Removes segments of the log that nothing needs any more, and never more.

A segment is needed as long as a generation on disk, or a build under way, does not go beyond its last number. A build
holds a lease: a file that its process has locked, so that a dead process's lease counts for nothing.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from trident.generation.generation import list_generations, other_formats
from trident.generation.holds import Position
from trident.journal.disk import RealDisk
from trident.journal.folder import LiveFolder
from trident.journal.lineage import Lineage
from trident.journal.segments import SegmentName


@contextmanager
def lease(folder: LiveFolder, number: int) -> Iterator[None]:
    """Keep the log behind a number while the block runs.

    Args:
        folder: Of the live catalogue.
        number: That a build goes to.
    """
    folder.leases.mkdir(parents=True, exist_ok=True)
    path = folder.leases / f"{os.getpid()}-{secrets.token_hex(4)}"
    with _alone(folder):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, str(number).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def cut_log(generations: Path) -> list[str]:
    """Remove the segments and vectors that nothing needs, and return the names of the segments.

    Args:
        generations: The folder of generations.

    Raises:
        GenerationError: If a manifest is damaged: what it needs is not known.
        LogError: If the log cannot be read.
    """
    folder, disk = LiveFolder.of(generations), RealDisk()
    lineage = folder.lineage()
    if lineage is None or other_formats(generations):  # what those need is not known
        return []
    with _alone(folder):
        found = list_generations(generations)
        needs = [0 if each.holds is None else each.holds.number for each in found if _is_of(lineage, each.holds)]
        needed = min([*needs, *_leased(folder)], default=0)
        names = SegmentName.all(disk, folder.log)
        removed = []
        for name, following in pairwise(names):  # the last one always stays
            if following.first - 1 > needed:
                break
            disk.remove(folder.log / str(name))
            disk.sync_folder(folder.log)  # one after the other: what is left begins where something else ended
            removed.append(str(name))
        there = {each.id for each in found}
        for path in (folder.path / "vectors").glob("*-*"):
            if path.name.rpartition("-")[2] not in there:
                path.unlink(missing_ok=True)
    return removed


def _is_of(lineage: Lineage, holds: Position | None) -> bool:
    return holds is None or lineage.fault(holds) is None


def _leased(folder: LiveFolder) -> list[int]:
    """Return the numbers of the leases whose processes live; the others are removed."""
    numbers = []
    for path in folder.leases.glob("*"):
        with suppress(FileNotFoundError), path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                numbers.append(int(file.read() or 0))
    return numbers


@contextmanager
def _alone(folder: LiveFolder) -> Iterator[None]:
    with (folder.path / ".retention").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

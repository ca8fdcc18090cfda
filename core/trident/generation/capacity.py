"""What memory and disk a program may still take here: of the machine, of its container, and of its own limits."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Free:
    """How much is free, and of what."""

    size_bytes: int
    of: str  # such as "memory of this machine"


def free_memory(*, cgroups: Path = CGROUPS, process: Path = Path("/proc/self")) -> Free:
    """Return the memory that this process may still take: the least of what machine, container and limits leave.

    Args:
        cgroups: Where the control groups of this kernel are.
        process: Of which the group is asked.
    """
    found = [Free(_field(Path("/proc/meminfo"), "MemAvailable:"), "memory of this machine")]
    for group in _groups(cgroups, process):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        if limit is not None:
            cached = _field(group / "memory.stat", "inactive_file") + _field(group / "memory.stat", "active_file")
            found.append(Free(max(0, limit - used + cached), f"memory of this container ({group / 'memory.max'})"))
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        taken = _field(Path("/proc/self/status"), "VmSize:")
        found.append(Free(max(0, space - taken), "address space of this process (ulimit -v)"))
    return min(found, key=lambda free: free.size_bytes)


def free_disk(folder: Path) -> Free:
    """Return the disk that this user may still write below a folder, which need not be there."""
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    found = os.statvfs(place)
    return Free(found.f_bavail * found.f_frsize, f"disk of {place}")


def longest_file() -> int | None:
    """Return the bytes that a file of this process may have (``ulimit -f``); None: as many as the disk has."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def size_text(size_bytes: float) -> str:
    """Return a size as people read it, such as ``1.9 GiB``."""
    unit = 0
    while size_bytes >= 1024 and unit < len(UNITS) - 1:
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{size_bytes:.0f} {UNITS[unit]}" if unit < 3 else f"{size_bytes:.1f} {UNITS[unit]}"


def _groups(cgroups: Path, process: Path) -> list[Path]:
    """Return the folders of the control groups that a process is in, each with those around it."""
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        inner = root / name.lstrip("/")
        found += [inner, *(each for each in inner.parents if each.is_relative_to(root))]
    return list(dict.fromkeys(found))


def _number(path: Path) -> int | None:
    """Return the number that a file of the kernel holds; None where there is none, or it says that there is no end."""
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        return None
    return None if value >= 2**60 else value


def _field(path: Path, name: str) -> int:
    """Return the bytes that a line of a file of the kernel names; 0 where it does not."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        words = line.split()
        if words[:1] == [name]:
            return int(words[1]) * (1024 if words[-1] == "kB" else 1)
    return 0

"""The order in which a program asks things of the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class DiskOrder:
    """Records what a program asks of the disk, and does it.

    ``events`` are ("sync", path) and ("rename", from, to), in order; ``unsynced`` what was not on the disk when it, or
    a folder above it, got a name outside a staging folder.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, ...]] = []
        self.unsynced: list[str] = []
        self._synced: dict[tuple[int, int], int] = {}
        fsync = os.fsync

        def sync(descriptor: int) -> None:
            fsync(descriptor)
            found = os.fstat(descriptor)
            self._synced[found.st_dev, found.st_ino] = found.st_mtime_ns
            self.events.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

        monkeypatch.setattr(os, "fsync", sync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._recorded(getattr(os, name)))

    def _recorded(self, rename: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def recorded(source: Any, target: Any) -> None:
            if ".staging-" not in str(target):
                self.unsynced += [str(path) for path in (Path(source), *Path(source).rglob("*")) if not self._has(path)]
            rename(source, target)
            self.events.append(("rename", str(source), str(target)))

        return recorded

    def _has(self, path: Path) -> bool:
        """Return whether a file or folder was synced since it last changed."""
        found = path.lstat()
        return path.is_symlink() or self._synced.get((found.st_dev, found.st_ino)) == found.st_mtime_ns

    def synced_after(self, folder: Path) -> bool:
        """Return whether a folder was synced after the last rename."""
        last = max(number for number, event in enumerate(self.events) if event[0] == "rename")
        return ("sync", str(folder)) in self.events[last:]

"""The few calls by which the log touches a disk, so that tests can put one under it that loses power.

Nothing here is durable until it was synced: what a file holds by ``File.sync``, that it is there (or gone, or under
another name) by ``Disk.sync_folder``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from trident.generation.durable import make_folder, sync_folder


class File(Protocol):
    """An open file."""

    def read(self, offset: int, length: int | None = None) -> bytes:
        """Return the bytes from an offset on, at most ``length`` of them; None: all."""

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset.

        Raises:
            OSError: If not all could be written; some may be there.
        """

    def truncate(self, size: int) -> None:
        """Cut the file to a size."""

    def sync(self) -> None:
        """Return when everything is on the disk.

        Raises:
            OSError: If that failed; whether it is there is not known, and another sync would not say.
        """

    def close(self) -> None:
        """Let go of the file."""


class Disk(Protocol):
    """Files below folders."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; none where the folder is not there."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open a file; ``create`` makes it, or empties the one that is there."""

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is no error."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents, each of them synced in its parent."""

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on the disk."""


class OpenFile:
    """A file of the operating system."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open it for reading and writing."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if create else 0)
        self._descriptor = os.open(path, flags, 0o666)

    def read(self, offset: int, length: int | None = None) -> bytes:
        """Return the bytes from an offset on."""
        left = max(0, os.fstat(self._descriptor).st_size - offset) if length is None else length
        parts = []
        while left > 0 and (part := os.pread(self._descriptor, left, offset)):
            parts.append(part)
            offset, left = offset + len(part), left - len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset."""
        left = memoryview(data)
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            offset, left = offset + written, left[written:]

    def truncate(self, size: int) -> None:
        """Cut the file to a size."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Return when everything is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class RealDisk:
    """The disk of the operating system."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; none where the folder is not there."""
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open a file; ``create`` makes it, or empties the one that is there."""
        return OpenFile(path, create=create)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is no error."""
        path.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents, each of them synced in its parent."""
        make_folder(folder)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on the disk."""
        sync_folder(folder)

"""What outlasts a power cut: everything below a name is synced before the rename that makes it count, then its folder.

A rename may reach the disk before the bytes of what is renamed; what counts after it would then be empty or cut off.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

NO_SYNC_OF_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)  # on file systems that sync a name with its file


def put_in_place(made: Path, target: Path) -> None:
    """Rename a file or a folder, all of it on the disk before, and the new name after.

    Args:
        made: On the file system of ``target``.
        target: Replaced if it is a file; a folder must not be there, or be empty.

    Raises:
        OSError: If something cannot be written to the disk; ``target`` is what it was then.
    """
    sync_tree(made)
    made.replace(target)
    sync_folder(target.parent)


def sync_tree(path: Path) -> None:
    """Write a file, or a folder with all that lies in it, to the disk; links are names of their folder.

    Raises:
        OSError: If the disk refuses.
    """
    if path.is_symlink():
        return
    if path.is_dir():
        for below in sorted(path.iterdir()):
            sync_tree(below)
        sync_folder(path)
    else:
        _sync(path)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk.

    Raises:
        OSError: If the disk refuses.
    """
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC_OF_FOLDERS:
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, their names on the disk.

    Raises:
        OSError: If one cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

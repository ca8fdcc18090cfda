"""Folders and files that appear whole or not at all: written beside their place, synced, renamed last."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trident.errors import TridentError
from trident.generation.durable import make_folder, put_in_place, sync_folder, sync_tree
from trident.rights import give_rights, path_error, umask


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False, lasting: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that becomes ``target`` when the block ends without an error.

    Files have the rights that the umask gives, whatever wrote them. After an error the staging folder is removed and
    ``target`` is what it was. What a killed process left behind is
    removed the next time.

    Args:
        target: The folder to make; its parents are made as needed.
        overwrite: Whether an existing ``target`` may be replaced.
        lasting: Whether it must outlast a power cut; what is made anew at every start need not wait for the disk.

    Raises:
        TridentError: If ``target`` exists and must not be replaced, or cannot be written.
    """
    with scratch_folder(target.parent, target.name) as staging:
        if target.exists() and not overwrite:  # asked now that what a killed process retired is back in its place
            raise TridentError(f"{target} exists already: choose another --out, or add --overwrite")
        yield staging
        give_rights(staging)
        _replace(staging, target, lasting=lasting)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield an empty hidden folder in ``parent`` that is removed at the end; ``parent`` too if made for it and empty.

    Args:
        parent: Made if it is not there. The folder lies on its file system, so that results leave it by a rename.
        name: Tells what it is for; what a killed process left under the same name is removed.

    Raises:
        TridentError: If ``parent`` cannot be written.
    """
    made = not parent.exists()
    try:
        make_folder(parent)
        _remove_abandoned(parent, name)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.staging-{os.getpid()}-", dir=parent))
        scratch.chmod(0o777 & ~umask())
    except OSError as error:
        raise TridentError(
            path_error(error, path=parent) or f"{parent} cannot be written: {error.strerror or error}"
        ) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if made and not any(parent.iterdir()):
            parent.rmdir()


@contextmanager
def held_alone(lock: Path, busy: str) -> Iterator[None]:
    """Hold a lock file while the block runs; it is removed at the end, and after a kill binds nobody.

    Args:
        lock: The file.
        busy: What to say where another process holds it.

    Raises:
        TridentError: If it is held, or cannot be written.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TridentError(
            path_error(error, path=lock) or f"{lock} cannot be written: {error.strerror or error}"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(descriptor), lock.stat())  # not the file of one that ended just now
        except (BlockingIOError, FileNotFoundError):
            same = False
        if not same:
            raise TridentError(busy)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file so that a reader sees the old text or the new, never a half, after a power cut too."""
    write_beside(path, text, staging=path.with_name(f".{path.name}.{os.getpid()}"))


def write_beside(path: Path, text: str, *, staging: Path) -> None:
    """Write a UTF-8 file as ``write_text`` does, under another name first: one that means nothing after a kill."""
    staging.write_text(text, encoding="utf-8")
    put_in_place(staging, path)


def _replace(staging: Path, target: Path, *, lasting: bool) -> None:
    retired = staging.with_name(staging.name + "-old")
    if lasting:
        sync_tree(staging)
    replaced = target.exists()
    if replaced:
        target.rename(retired)
    staging.rename(target)
    if lasting:
        sync_folder(target.parent)
    if replaced:
        shutil.rmtree(retired)


def _remove_abandoned(parent: Path, name: str) -> None:
    for folder in parent.iterdir():
        made = re.fullmatch(rf"\.{re.escape(name)}\.staging-(\d+)-.+", folder.name)
        if made is None or Path(f"/proc/{made[1]}").exists():
            continue
        if folder.name.endswith("-old") and not (parent / name).exists():
            folder.rename(parent / name)  # killed between the two renames: the old one is the whole one
        else:
            shutil.rmtree(folder, ignore_errors=True)

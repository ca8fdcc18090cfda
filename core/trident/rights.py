"""Files and folders that this user may not read or write, in a line; and the rights that the user's umask gives."""

from __future__ import annotations

import errno
import os
import pwd
from contextlib import suppress
from pathlib import Path

from trident.errors import TridentError

# What the outside does to a path, and no fault of ours.
PATH_ERRORS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE),
    }
)
REMEDIES = {
    errno.EROFS: "it is mounted read-only: mount it to be written, or name a folder elsewhere",
    errno.ENOSPC: "free disk space, or name a folder elsewhere",
    errno.EDQUOT: "free disk space of this user, or name a folder elsewhere",
    errno.ENOTDIR: "a part of the path is a file: name another place",
    errno.EISDIR: "it is a folder: name a file",
    errno.EEXIST: "a file is in the way: name another place, or move it",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def path_error(error: OSError, *, path: Path | None = None) -> str | None:
    """Return what stopped a program at a path, with the remedy, in a line; None where the program is to blame.

    Args:
        error: What the system said.
        path: The one that the user named; None: the error's own.
    """
    if error.errno not in PATH_ERRORS:
        return None
    if path is None and error.filename is None:  # of a library that has the path in its words
        return f"{' '.join(str(error).split())}; {_remedy(error.errno, None)}"
    path = path or Path(os.fsdecode(error.filename))
    return f"{path} cannot be {_wanted(path)}: {error.strerror}; {_remedy(error.errno, path)}"


def require_writable(path: Path) -> None:
    """Check that a file can be written, before the work whose result it is to hold.

    Args:
        path: The file; folders above it are made when it is written.

    Raises:
        TridentError: If this user may not write it, or a file is where a folder must be.
    """
    place = path if path.exists() else _nearest(path.parent)
    if path.is_dir():
        raise TridentError(f"{path} must be a file, got a folder: name a file in it")
    if not path.exists() and not place.is_dir():
        raise TridentError(f"{path} cannot be written: {place} is a file; name another place")
    _require_access(place, os.W_OK if path.exists() else os.W_OK | os.X_OK, path)


def require_writable_folder(path: Path) -> None:
    """Check that a folder can be made, or written into where it is there, before the work whose result it is to hold.

    Raises:
        TridentError: If this user may not, or a file is where a folder must be.
    """
    place = _nearest(path)
    if not place.is_dir():
        raise TridentError(f"{path} cannot be written: {place} is a file; name another place")
    _require_access(place, os.W_OK | os.X_OK, path)


def _require_access(place: Path, mode: int, path: Path) -> None:
    if not os.access(place, mode):
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise TridentError(f"{path} cannot be written: {os.strerror(number)}; {_remedy(number, path)}")


def umask() -> int:
    """Return the bits that new files of this process go without; asked so that no other thread sees it change."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022


def give_rights(folder: Path) -> None:
    """Give what lies in a folder the rights that the umask gives to new files; safetensors writes for its owner only.

    Nobody loses a right. Links, and files of others, stay as they are.
    """
    allowed = 0o777 & ~umask()
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode & 0o7777
        wanted = mode | (allowed if path.is_dir() else allowed & 0o666)
        if wanted != mode:
            with suppress(PermissionError):
                path.chmod(wanted)


def _nearest(path: Path) -> Path:
    """Return what there is of a path: itself, or the first above it."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _wanted(path: Path) -> str:
    """Return what was most likely wanted of a path that refused: a missing or a readable one was to be written."""
    try:
        unreadable = path.exists() and not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))
    except OSError:
        return "reached"
    return "read" if unreadable else "written"


def _remedy(number: int | None, path: Path | None) -> str:
    if number in REMEDIES:
        return REMEDIES[number]
    whose = f"{_owner(path)}: " if path is not None else ""
    return f"{whose}give user {_name(os.geteuid())} the right (chown, chmod), or name a place where it has it"


def _owner(path: Path) -> str:
    try:
        place = _nearest(path)
        found = place.stat()
    except (OSError, StopIteration):
        return "its folder may not be looked into"
    return f"{place} belongs to {_name(found.st_uid)}, mode {found.st_mode & 0o7777:03o}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # as in many containers
        return str(user)

"""A copy of what is committed, while everything goes on; whoever writes to the copy first begins an epoch."""

from __future__ import annotations

from pathlib import Path

from trident.errors import LiveError, LogError
from trident.journal.disk import RealDisk
from trident.journal.folder import LiveFolder
from trident.journal.frames import decode, scan
from trident.journal.log import RESTORED_FILE
from trident.journal.published import Published
from trident.journal.segments import SegmentName


def back_up(folder: LiveFolder, target: Path) -> int:
    """Copy the log to a new folder, and return the number that the copy goes to.

    To restore: stop the server, put the copy in the place of ``.live/log``, start it again.

    Args:
        folder: Of the live catalogue.
        target: Must not be there yet.

    Raises:
        LiveError: If the target is there, or there is no log.
        LogError: If a group of the log is damaged or missing; what was copied is no backup.
        OSError: If it cannot be written.
    """
    if target.exists():
        raise LiveError(f"{target} must not exist yet: name another folder for the backup")
    found = Published(folder.published).read() if folder.published.is_file() else None
    if found is None:
        raise LiveError(f"{folder.path} has no log: start trident serve --live once")
    disk, upto = RealDisk(), found[0]
    last: int | None = None
    disk.make_folder(target)
    _write(disk, target / RESTORED_FILE, b"copied while in service: who writes here first begins an epoch\n")
    for name in SegmentName.all(disk, folder.log):
        if name.first > upto + 1:
            break
        file = disk.open(folder.log / str(name))
        try:
            data = file.read(0)
        finally:
            file.close()
        header = decode(data)
        if header is None:  # begun this moment
            break
        if last not in (None, name.first - 1):
            break
        end, last = header.end, name.first - 1
        for frame in scan(data, header.end):
            if frame.last > upto:
                break
            end, last = frame.end, frame.last
        _write(disk, target / str(name), data[:end])
    if last != upto:
        raise LogError(
            f"the copy of {folder.log} must go to number {upto:,}, got {last or 0:,}: what follows is damaged; "
            f"{target} is no backup"
        )
    disk.sync_folder(target)
    return upto


def _write(disk: RealDisk, path: Path, data: bytes) -> None:
    file = disk.open(path, create=True)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()

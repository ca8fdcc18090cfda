"""A copy of what is committed, while everything goes on; whoever writes to the copy first begins an epoch."""

from __future__ import annotations

from pathlib import Path

from trident.errors import LiveError
from trident.journal.disk import RealDisk
from trident.journal.folder import LiveFolder
from trident.journal.frames import decode, scan
from trident.journal.log import RESTORED_FILE
from trident.journal.published import Published
from trident.journal.segments import SegmentName


def back_up(folder: LiveFolder, target: Path) -> int:
    """Copy the log to a new folder, and return the last number in the copy.

    To restore: stop the server, put the copy in the place of ``.live/log``, start it again.

    Args:
        folder: Of the live catalogue.
        target: Must not be there yet.

    Raises:
        LiveError: If the target is there, or there is no log.
        OSError: If it cannot be written.
    """
    if target.exists():
        raise LiveError(f"{target} must not exist yet: name another folder for the backup")
    found = Published(folder.published).read() if folder.published.is_file() else None
    if found is None:
        raise LiveError(f"{folder.path} has no log: start trident serve --live once")
    disk, upto, last = RealDisk(), found[0], 0
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
        end = header.end
        for frame in scan(data, header.end):
            if frame.last > upto:
                break
            end, last = frame.end, frame.last
        _write(disk, target / str(name), data[:end])
    disk.sync_folder(target)
    return last


def _write(disk: RealDisk, path: Path, data: bytes) -> None:
    file = disk.open(path, create=True)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()

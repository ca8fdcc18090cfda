"""The log's files: their names, what is in them, and what of them counts after a power cut.

A segment is named by the first number that may come in it and its epoch, and begins with the log's lineage. Segments
are written one after the other: everything but the end of the last one was on the disk before something else was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trident.errors import LogError
from trident.journal.disk import Disk
from trident.journal.frames import GROUP, READ_VERSIONS, SEGMENT, Frame, decode, frame_behind, scan
from trident.journal.lineage import Lineage

NAME = re.compile(r"(\d{20})-(\d{6})\.log")
REMEDY = "restore a backup, or export the catalogue again and begin a new log"


@dataclass(frozen=True, order=True)
class SegmentName:
    """Which segment a file is."""

    first: int
    epoch: int

    def __str__(self) -> str:
        """Return the file's name."""
        return f"{self.first:020d}-{self.epoch:06d}.log"

    @classmethod
    def all(cls, disk: Disk, folder: Path) -> list[SegmentName]:
        """Return those of a folder, in the order in which they were written."""
        found = [NAME.fullmatch(name) for name in disk.names(folder)]
        return sorted(cls(int(match[1]), int(match[2])) for match in found if match)


@dataclass(frozen=True)
class Segment:
    """A segment that was read in full.

    Attributes:
        name: Its name.
        lineage: Of the log when it was begun.
        last: The last number in it, or the one before its first where it has none.
        end: Bytes that count.
        size: Bytes of the file.
        last_frame: Where the last frame begins.
    """

    name: SegmentName
    lineage: Lineage
    last: int
    end: int
    size: int
    last_frame: int


def read_segment(disk: Disk, folder: Path, name: SegmentName) -> Segment | None:
    """Return a segment; None where not even its beginning is whole, and nothing else in it.

    Raises:
        LogError: If something is whole behind what is not, or numbers do not follow each other.
    """
    path = folder / str(name)
    file = disk.open(path)
    try:
        data = file.read(0)
    finally:
        file.close()
    frames = []
    end, last_frame = 0, 0
    for frame in scan(data):
        frames.append(frame)
        last_frame, end = end, frame.end
    if end < len(data) and (behind := frame_behind(data, end)) is not None:
        raise LogError(f"{path} is damaged at byte {end:,}: there is a whole group at byte {behind:,}; {REMEDY}")
    if not frames:
        return None
    return Segment(name, _lineage(path, frames[0]), _last(path, frames, name), end, len(data), last_frame)


def groups(data: bytes, path: Path, offset: int, following: int) -> list[Frame]:
    """Return the groups from an offset on whose numbers follow each other.

    Raises:
        LogError: If a number is missing or comes twice, or a frame is of a later version.
    """
    found = []
    for frame in scan(data, offset):
        if frame.kind == SEGMENT:
            continue
        _check(path, frame, following)
        found.append(frame)
        following = frame.last + 1
    return found


def present_lineage(disk: Disk, folder: Path) -> Lineage | None:
    """Return the lineage that a log has now; None where there is no log.

    The last segment may have been begun and no more, at this moment or on a full disk: then it is that of the one
    before, as after a recovery.

    Raises:
        LogError: If it cannot be read.
    """
    names = SegmentName.all(disk, folder)
    for name in reversed(names[-2:]):
        path = folder / str(name)
        file = disk.open(path)
        try:
            frame = decode(file.read(0, 1 << 16))
        finally:
            file.close()
        if frame is not None:
            return _lineage(path, frame)
    if names and names[-1].first > 1:
        raise LogError(f"{folder / str(names[-1])} is damaged at byte 0; {REMEDY}")
    return None


def _lineage(path: Path, frame: Frame) -> Lineage:
    if frame.version not in READ_VERSIONS:
        raise LogError(
            f"{path} has format {frame.version}, this Trident reads {READ_VERSIONS[-1]}: use a later Trident"
        )
    if frame.kind != SEGMENT:
        raise LogError(f"{path} must begin with what it belongs to, got a group; {REMEDY}")
    return Lineage.decode(frame.records[0])


def _last(path: Path, frames: list[Frame], name: SegmentName) -> int:
    following = name.first
    for frame in frames[1:]:
        _check(path, frame, following)
        following = frame.last + 1
    return following - 1


def _check(path: Path, frame: Frame, following: int) -> None:
    if frame.version not in READ_VERSIONS:
        raise LogError(
            f"{path} has format {frame.version}, this Trident reads {READ_VERSIONS[-1]}: use a later Trident"
        )
    if frame.kind != GROUP or frame.first != following:
        raise LogError(f"{path} is damaged: number {following:,} must follow, got {frame.first:,}; {REMEDY}")

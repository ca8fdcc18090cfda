"""The log: every operation on the catalogue, in order, durable before anybody is told that it was done.

One writer appends groups; ``Log.open`` makes of what a power cut left the log that everybody was promised:

- A group was written and synced before the next one, so that at most the last frame is one that nobody was promised.
  Where it is not whole it is cut, and the cut synced, before anything else is written.
- Where it is whole, it may be so in memory only: a sync that failed leaves pages that look written. It is written again
  and synced before it counts.
- A frame that is not whole with a whole one behind it is damage, and refused.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from trident.errors import FullError, LogError, StoppedError, UnknownOutcomeError
from trident.generation.holds import Position
from trident.journal.disk import Disk, File, RealDisk
from trident.journal.frames import GROUP, SEGMENT, encode
from trident.journal.lineage import Lineage
from trident.journal.segments import REMEDY, Segment, SegmentName, read_segment

SEGMENT_BYTES = 64 << 20
RESTORED_FILE = "BACKUP"  # in a folder that a backup was written to: whoever writes there first begins an epoch

logger = logging.getLogger(__name__)


class Log:
    """The log of a folder, open for writing; ``open`` one. The caller holds the folder's lock."""

    def __init__(self, disk: Disk, folder: Path, lineage: Lineage, *, segment_bytes: int) -> None:
        """Keep the parts; ``open`` fills in the rest."""
        self.disk, self.folder, self.lineage = disk, folder, lineage
        self.last = lineage.epochs[-1].after  # the last number that is durable
        self.stopped: str | None = None  # why nothing is written any more
        self._segment_bytes = segment_bytes
        self._file: File | None = None
        self._end = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        disk: Disk | None = None,
        promised: Position | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> Log:
        """Return the log of a folder, recovered; a new one where there is none.

        Args:
            folder: Made where it is not there.
            disk: What it lies on.
            promised: The highest number that is known to have been answered with; another log's says nothing.
            segment_bytes: A segment of that size is not appended to any more.

        Raises:
            LogError: If it is damaged, or ends before ``promised``.
            OSError: If it cannot be read or written.
        """
        disk = disk or RealDisk()
        disk.make_folder(folder)
        names = SegmentName.all(disk, folder)
        segments = _read(disk, folder, names)
        if not segments:
            if names and names[0].first > 1:
                raise LogError(f"{folder / str(names[0])} is damaged at byte 0; {REMEDY}")
            if promised is not None:
                _check_reaches(folder, promised, 0)
            return cls._begin(disk, folder, Lineage.begin(), segment_bytes)
        end = segments[-1]
        is_restored = RESTORED_FILE in disk.names(folder)
        if promised is not None and not is_restored and promised.branch == end.lineage.epochs[-1].branch:
            _check_reaches(folder, promised, end.last)
        log = cls(disk, folder, end.lineage, segment_bytes=segment_bytes)
        log._recover(end)
        if is_restored:
            log.lineage = end.lineage.restored(end.last)
            log._roll()
            disk.remove(folder / RESTORED_FILE)
            disk.sync_folder(folder)
            logger.warning("the log %s was restored from a backup: epoch %d", folder, log.lineage.epochs[-1].number)
        return log

    @classmethod
    def _begin(cls, disk: Disk, folder: Path, lineage: Lineage, segment_bytes: int) -> Log:
        log = cls(disk, folder, lineage, segment_bytes=segment_bytes)
        log._roll()
        return log

    def _recover(self, segment: Segment) -> None:
        """Cut what is not whole off the end, and write the last frame for a second time."""
        file = self.disk.open(self.folder / str(segment.name))
        if segment.end < segment.size:
            file.truncate(segment.end)
            logger.warning(
                "%s: cut %d bytes of a group that nobody was promised; the last number is %d",
                self.folder / str(segment.name),
                segment.size - segment.end,
                segment.last,
            )
        file.write(segment.last_frame, file.read(segment.last_frame, segment.end - segment.last_frame))
        file.sync()
        self.disk.sync_folder(self.folder)
        self._file, self._end, self.last = file, segment.end, segment.last

    def append(self, records: Sequence[bytes]) -> int:
        """Append a group, and return its last number when it is durable.

        Args:
            records: One JSON document each, without line feeds; at least one.

        Raises:
            FullError: If there was no room; nothing was written, and writing may go on.
            StoppedError: If a sync failed before; nothing was written.
            UnknownOutcomeError: If the sync of this group failed.
        """
        if self.stopped is not None:
            raise StoppedError(f"nothing was written: {self.stopped}; restart trident serve")
        if self._file is None or self._end >= self._segment_bytes:
            self._roll()
        assert self._file is not None
        frame = encode(GROUP, self.last + 1, records)
        try:
            self._file.write(self._end, frame)
        except OSError as error:
            self._cut(error)
            raise self._full(error) from error
        self._sync(self._file)
        self._end += len(frame)
        self.last += len(records)
        return self.last

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _cut(self, cause: OSError) -> None:
        assert self._file is not None
        try:
            self._file.truncate(self._end)
            self._file.sync()
        except OSError as error:
            self._stop(f"writing failed ({_why(cause)}), and so did taking it back ({_why(error)})", error)

    def _sync(self, file: File) -> None:
        try:
            file.sync()
        except OSError as error:
            self._stop(f"syncing the log {self.folder} failed ({_why(error)})", error)

    def _stop(self, reason: str, error: OSError) -> None:
        self.stopped = reason
        raise UnknownOutcomeError(
            f"{reason}: whether these operations were written is not known, after a restart of trident serve they are "
            "there, all of them or none"
        ) from error

    def _roll(self) -> None:
        """Begin a segment; it is on the disk, and its name too, before anything comes into it.

        Raises:
            FullError: If it cannot be written; the next attempt begins it again.
            StoppedError: If it cannot be synced.
        """
        name = SegmentName(self.last + 1, self.lineage.epochs[-1].number)
        header = encode(SEGMENT, name.first, [self.lineage.encode()])
        self.close()
        try:
            self._file = self.disk.open(self.folder / str(name), create=True)
            self._file.write(0, header)
        except OSError as error:
            self.close()
            raise self._full(error) from error
        try:
            self._file.sync()
            self.disk.sync_folder(self.folder)
        except OSError as error:
            self.close()
            self.stopped = f"syncing a new segment of the log {self.folder} failed ({_why(error)})"
            raise StoppedError(f"nothing was written: {self.stopped}; restart trident serve") from error
        self._end = len(header)

    def _full(self, error: OSError) -> FullError:
        return FullError(f"nothing was written: the log {self.folder} cannot grow ({_why(error)}); free some space")


def _read(disk: Disk, folder: Path, names: list[SegmentName]) -> list[Segment]:
    """Return the segments that count, oldest first; the beginning of one that never was is removed."""
    segments: list[Segment] = []
    for name in names:
        segment = read_segment(disk, folder, name)
        is_last = name == names[-1]
        if segment is None and is_last:
            if name.first > 1 and segments:
                disk.remove(folder / str(name))
                disk.sync_folder(folder)
            continue
        if segment is None or (segment.end < segment.size and not is_last):
            place = 0 if segment is None else segment.end
            raise LogError(f"{folder / str(name)} is damaged at byte {place:,}, and {names[-1]} follows; {REMEDY}")
        if segments and name.first != segments[-1].last + 1:
            raise LogError(
                f"the log {folder} is damaged: number {segments[-1].last + 1:,} must follow, {name} begins with "
                f"{name.first:,}; {REMEDY}"
            )
        segments.append(segment)
    return segments


def _check_reaches(folder: Path, promised: Position, last: int) -> None:
    if last < promised.number:
        raise LogError(
            f"the log {folder} must reach number {promised.number:,}, which was answered with, got {last:,}; {REMEDY}"
        )


def _why(error: OSError) -> str:
    return error.strerror or str(error)

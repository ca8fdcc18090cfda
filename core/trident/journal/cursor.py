"""Reading the log behind a writer, or without one: records after a number, in order, up to a number that is durable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trident.errors import LogError
from trident.journal.disk import Disk, RealDisk
from trident.journal.frames import decode
from trident.journal.segments import REMEDY, SegmentName, groups

CHUNK = 1 << 20  # bytes that are read at once, unless a frame is larger


class LogCursor:
    """A place in the log of a folder; ``advance`` moves it on.

    Args:
        folder: Of the log.
        after: The number that it stands behind.
        disk: What the log lies on.
    """

    def __init__(self, folder: Path, after: int, *, disk: Disk | None = None) -> None:
        """Stand behind a number."""
        self.folder, self.number = folder, after
        self._disk = disk or RealDisk()
        self._segment: SegmentName | None = None
        self._offset, self._following = 0, 0  # where a frame begins, and its first number

    def advance(self, upto: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and record of everything behind the place up to a number, and stand there.

        Raises:
            LogError: If the log does not reach so far, or back to the place.
        """
        while self.number < upto:
            before = self._segment, self._offset, self.number
            yield from self._advance_within(upto)
            if (self._segment, self._offset, self.number) == before and not self._next_segment():
                raise LogError(
                    f"the log {self.folder} must reach number {upto:,}, got {self.number:,}: it was cut off or another "
                    f"one lies there; {REMEDY}"
                )

    def _advance_within(self, upto: int) -> Iterator[tuple[int, bytes]]:
        if self._segment is None:
            return
        path = self.folder / str(self._segment)
        begins, data = self._offset, self._read_frames(path)
        if begins == 0 and (header := decode(data)) is not None:
            self._offset = header.end
            return
        for frame in groups(data, path, 0, self._following):
            if frame.first > upto:
                break
            for number, record in enumerate(frame.records, start=frame.first):
                if self.number < number <= upto:
                    self.number = number
                    yield number, record
            if frame.last > upto:
                break
            self._offset, self._following = begins + frame.end, frame.last + 1

    def _read_frames(self, path: Path) -> bytes:
        """Return bytes from the place on that hold one whole frame at least, where there is one."""
        file = self._disk.open(path)
        try:
            size = CHUNK
            while True:
                data = file.read(self._offset, size)
                if len(data) < size or decode(data) is not None:
                    return data
                size *= 4
        finally:
            file.close()

    def _next_segment(self) -> bool:
        """Go to the segment that holds the following number; return whether it is another one than before."""
        names = SegmentName.all(self._disk, self.folder)
        reaching = [name for name in names if name.first <= self.number + 1]
        if not reaching:
            first = names[0].first if names else 1
            raise LogError(
                f"the log {self.folder} must reach back to number {self.number + 1:,}, got {first:,} as its first: it "
                "is gone from there; serve a later generation, or export the catalogue again"
            )
        if reaching[-1] == self._segment:
            return False
        self._segment, self._offset, self._following = reaching[-1], 0, reaching[-1].first
        return True

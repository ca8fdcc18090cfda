"""Frames: what the log writes at once, with a checksum, so that a half of one is known for what it is. Pure.

A frame is a header (length, version, kind, first number, count, checksum) and its records, one JSON document a line.
JSON has no zero byte and a header always has some (a number has eight bytes), so no product's text looks like a frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAGIC = b"TLOG"
VERSION = 1  # of what is written
READ_VERSIONS = (1,)
HEADER = struct.Struct("<4sHHIQI")  # magic, version, kind, bytes of records, first number, count; then the checksum
CHECKSUM = struct.Struct("<I")
OVERHEAD = HEADER.size + CHECKSUM.size
SEGMENT, GROUP = 0, 1  # kinds: what a segment begins with, and a group of records
LARGEST = 1 << 30  # bytes of records; more is no frame of ours


@dataclass(frozen=True)
class Frame:
    """One frame as it was read.

    Attributes:
        kind: ``SEGMENT`` or ``GROUP``.
        version: Of the format.
        first: The number of its first record; of a segment, of the first that may come in it.
        records: Its records; of a segment one, what it belongs to.
        end: Where the next frame begins.
    """

    kind: int
    version: int
    first: int
    records: list[bytes]
    end: int

    @property
    def last(self) -> int:
        """The number of its last record."""
        return self.first + len(self.records) - 1


def encode(kind: int, first: int, records: Sequence[bytes]) -> bytes:
    """Return the bytes of a frame."""
    body = b"\n".join(records)
    header = HEADER.pack(MAGIC, VERSION, kind, len(body), first, len(records))
    return header + CHECKSUM.pack(zlib.crc32(body, zlib.crc32(header))) + body


def decode(data: bytes, offset: int = 0) -> Frame | None:
    """Return the frame that begins at an offset; None where no whole one does."""
    start = offset + OVERHEAD
    if len(data) < start:
        return None
    magic, version, kind, size, first, count = HEADER.unpack_from(data, offset)
    if magic != MAGIC or size > LARGEST or len(data) < start + size or count < 1:
        return None
    body = data[start : start + size]
    checksum = zlib.crc32(body, zlib.crc32(data[offset : offset + HEADER.size]))
    if CHECKSUM.unpack_from(data, offset + HEADER.size)[0] != checksum:
        return None
    records = body.split(b"\n")
    return Frame(kind, version, first, records, start + size) if len(records) == count else None


def scan(data: bytes, offset: int = 0) -> Iterator[Frame]:
    """Yield the whole frames that follow each other from an offset on."""
    while (frame := decode(data, offset)) is not None:
        yield frame
        offset = frame.end


def frame_behind(data: bytes, offset: int) -> int | None:
    """Return where a whole frame begins behind an offset at which none does; None where there is no more."""
    place = data.find(MAGIC, offset + 1)
    while place >= 0:
        if decode(data, place) is not None:
            return place
        place = data.find(MAGIC, place + 1)
    return None

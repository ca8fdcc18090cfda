"""Vectors of titles that no index has, in a growing file that every process maps; made again when missing.

A file belongs to one encoder. A row carries the number that it was made for, the hash of its text and a checksum, and
is found by that hash: a vector of another text, or half of one after a power cut, is never taken for the right one.
Whoever misses a row makes it, under the file's lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import FullError, LogError
from trident.index.growing import GrowingVectors

CAPACITY = 50_000  # rows: the tail's limit, for the writer
OVER = 4  # times that may be there, where a rollback goes past a compaction; what is not written takes no room
HASH_BYTES = 16
HEADER_BYTES = 4096
ROW_HEAD_BYTES = 28  # number, hash and checksum
MAGIC = b"TRIDENT-VECTORS-1"

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # N titles to (N, D), unit length


class VectorFile:
    """The vectors of one encoder.

    Args:
        path: Of the file; made where it is not there, and emptied where it is another encoder's.
        fingerprint: Of the encoder.
        dimension: D of its vectors.
        capacity: Rows that a writer may take; a replay may take ``OVER`` times as many.

    Raises:
        FullError: If the disk has no room for an empty one.
    """

    def __init__(self, path: Path, *, fingerprint: str, dimension: int, capacity: int = CAPACITY) -> None:
        """Map the file."""
        self.path, self.dimension, self.capacity, self._room = path, dimension, capacity, OVER * capacity
        self._row = row_type(dimension)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._places: dict[bytes, int] = {}
        self._used = 0
        header = MAGIC + f" {fingerprint} {dimension} {capacity}".encode()
        try:
            self._begin(header)
        except OSError as error:
            self.close()
            raise FullError(f"{path} cannot be begun ({error.strerror or error}); free some space") from error
        self._rows = np.memmap(path, dtype=self._row, mode="r", offset=HEADER_BYTES, shape=(self._room,))
        self.vectors: NDArray[np.float32] = self._rows["vector"]  # (C, D), rows lie apart
        self.searched = GrowingVectors(self.vectors)
        with self._locked():
            self._refresh()

    @property
    def used(self) -> int:
        """Rows that are taken."""
        return self._used

    def rows(self, titles: Sequence[str], embed: Embed, number: int, *, limit: int | None = None) -> NDArray[np.int64]:
        """Return the rows (N,) of N titles; what is missing is embedded and written.

        Args:
            titles: Of products.
            embed: Called with the different titles that are missing.
            number: Of the first operation that they are made for.
            limit: Rows that may be taken; None: as many as the file has.

        Raises:
            FullError: If the file or the disk has no room; nothing counts as written.
        """
        hashes = [hash_of(title) for title in titles]
        if not all(each in self._places for each in hashes):
            self._refresh()  # without the lock: nobody waits for what another process is just embedding
        if not all(each in self._places for each in hashes):
            with self._locked():
                self._refresh()
                missing = {key: title for key, title in zip(hashes, titles, strict=True) if key not in self._places}
                if missing:
                    self._require_room(len(missing), self._room if limit is None else limit)
                    self._append(list(missing), embed(list(missing.values())), number)
        return np.array([self._places[key] for key in hashes], dtype=np.int64)

    def prepare(self) -> None:
        """Make what searches many of them in less time; one thread at a time."""
        self.searched.prepare(self._used)

    def missing(self, titles: Sequence[str]) -> int:
        """Return how many of some titles have no row that this process knows of."""
        return sum(hash_of(title) not in self._places for title in titles)

    def close(self) -> None:
        """Let go of the file; a second time is none."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self, header: bytes) -> None:
        """Empty the file where it does not begin with a header, and write that."""
        with self._locked():
            if os.pread(self._descriptor, len(header), 0) != header:
                os.ftruncate(self._descriptor, 0)
                os.ftruncate(self._descriptor, HEADER_BYTES + self._room * self._row.itemsize)
                self._write(0, header)

    def _require_room(self, more: int, limit: int) -> None:
        if self._used + more > limit:
            raise FullError(
                f"nothing was written: the tail has {self._used:,} vectors and takes {limit:,}: run trident catalogue "
                "compact --promote"
            )

    def _append(self, hashes: list[bytes], vectors: NDArray[np.float32], number: int) -> None:
        if vectors.shape != (len(hashes), self.dimension):
            raise LogError(
                f"{self.path} takes vectors of {self.dimension}, got shape {vectors.shape}: restart the server"
            )
        rows = np.zeros(len(hashes), dtype=self._row)
        rows["number"], rows["vector"] = number, vectors
        for place, key in enumerate(hashes):
            rows["hash"][place] = key
            rows["checksum"][place] = _checksum(key, rows["vector"][place])
        offset = HEADER_BYTES + self._used * self._row.itemsize
        try:
            os.posix_fallocate(self._descriptor, offset, rows.nbytes)
            self._write(offset, rows.tobytes())
        except OSError as error:
            raise FullError(
                f"nothing was written: {self.path} cannot grow ({error.strerror or error}); free some space"
            ) from error
        for key in hashes:
            self._places[key] = self._used
            self._used += 1

    def _refresh(self) -> None:
        """Take in the rows that another process wrote; behind the first that is not whole nothing counts."""
        while self._used < self._room:
            row = self._rows[self._used]
            key = row["hash"].tobytes()
            if row["checksum"] == 0 or row["checksum"] != _checksum(key, row["vector"]):
                return
            self._places[key] = self._used
            self._used += 1

    def _write(self, offset: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            offset, left = offset + written, left[written:]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def rows_taken(path: Path) -> tuple[int, int]:
    """Return how many rows of a file are taken, and how many a writer may; none where there is no such file."""
    try:
        with path.open("rb") as file:
            words = file.read(HEADER_BYTES).split(b"\0")[0].decode(errors="replace").split()
            if len(words) != 4 or words[0] != MAGIC.decode():
                return 0, 0
            row_bytes = row_type(int(words[2])).itemsize
            low, high = 0, OVER * int(words[3])
            while low < high:  # they are taken one after the other
                middle = (low + high) // 2
                file.seek(HEADER_BYTES + middle * row_bytes)
                is_taken = any(file.read(ROW_HEAD_BYTES))
                low, high = (middle + 1, high) if is_taken else (low, middle)
            return low, int(words[3])
    except OSError:
        return 0, 0


def row_type(dimension: int) -> np.dtype[Any]:
    """Return how a row lies in the file."""
    return np.dtype(
        [
            ("number", "<u8"),
            ("hash", f"V{HASH_BYTES}"),
            ("checksum", "<u4"),
            ("pad", "<u4"),
            ("vector", "<f4", (dimension,)),
        ]
    )


def hash_of(title: str) -> bytes:
    """Return what a title's row is found by."""
    return hashlib.sha256(title.encode()).digest()[:HASH_BYTES]


def _checksum(key: bytes, vector: NDArray[np.float32]) -> int:
    return zlib.crc32(vector.tobytes(), zlib.crc32(key)) or 1

"""A file of named arrays that is mapped, not read: a generation's attributes, lexical index and suggestions."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import GenerationError

MAGIC = b"TRIDATT1"
ALIGNMENT = 64  # bytes: a cache line
LENGTH = struct.Struct("<Q")  # the last eight bytes: how long the directory before them is


class ArrayWriter:
    """Writes arrays one after the other; the directory stands at the end. Equal arrays give equal bytes."""

    def __init__(self, path: Path) -> None:
        """Begin the file."""
        self._file = path.open("wb")
        self._file.write(MAGIC)
        self._directory: dict[str, list[Any]] = {}

    def __enter__(self) -> ArrayWriter:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the directory, unless something went wrong."""
        with self._file:
            if error is None:
                directory = json.dumps(self._directory, ensure_ascii=False).encode()
                self._file.write(directory + LENGTH.pack(len(directory)))

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Write an array of one axis."""
        assert array.ndim == 1
        assert name not in self._directory
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        self._directory[name] = [array.dtype.str, self._file.tell(), len(array)]
        self._file.write(np.ascontiguousarray(array).data)


class ArrayFile:
    """The arrays of a file, by name.

    Args:
        path: The file.
        what: Is in it, for errors; a plural.

    Raises:
        GenerationError: If the file is missing or damaged.
    """

    def __init__(self, path: Path, what: str = "attributes") -> None:
        """Map the file."""
        self._path, self._what = path, what
        try:
            mapped: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
            self._bytes = np.asarray(mapped)  # the same memory; each slice of a memmap costs a microsecond more
            end = len(self._bytes) - LENGTH.size
            (length,) = LENGTH.unpack(self._bytes[max(end, 0) :].tobytes())
            if self._bytes[: len(MAGIC)].tobytes() != MAGIC or not 0 < length <= end - len(MAGIC):
                raise ValueError("it begins or ends otherwise than such files do")
            self._directory = json.loads(self._bytes[end - length : end].tobytes())
            for dtype, offset, count in self._directory.values():
                if offset < 0 or count < 0 or offset + count * np.dtype(dtype).itemsize > end - length:
                    raise ValueError("an array of it lies outside")
        except (OSError, ValueError, TypeError, AttributeError, struct.error) as error:
            raise GenerationError(f"{what} {path} are missing or damaged: {error}; export again") from error

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array, read when it is looked at.

        Raises:
            GenerationError: If the file has none of that name.
        """
        if name not in self._directory:
            raise GenerationError(f"{self._what} {self._path} are damaged: they have no '{name}'; export again")
        dtype, offset, count = self._directory[name]
        found: NDArray[Any] = self._bytes[offset : offset + count * np.dtype(dtype).itemsize].view(dtype)
        return found

    def require(self, name: str, value: int) -> None:
        """Raise unless an array of one number holds this one.

        Raises:
            GenerationError: Naming both.
        """
        found = self[name].tolist()
        if found != [value]:
            raise GenerationError(f"{self._what} {self._path} must have {name} {value}, got {found}: export again")

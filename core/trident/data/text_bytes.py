"""The bytes of a text file: unpacked by content, in UTF-8 whatever the file is in."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import pyarrow as pa

from trident.data.reading import Reading
from trident.errors import DataError

PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}  # by the first bytes
PACKED_SUFFIXES = (".gz", ".bz2", ".zst")
ARCHIVES = {b"PK\x03\x04": "a zip archive (as Excel workbooks are)", b"\xfd7zXZ": "packed with xz"}
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
LATIN_1 = codecs.lookup("latin-1").name


def first_bytes(path: Path, count: int = 8) -> bytes:
    """Return the first bytes of a file as it lies there."""
    with path.open("rb") as file:
        return file.read(count)


def packing(first: bytes) -> str | None:
    """Return how a file with these first bytes is packed, as pyarrow calls it; None if it is not."""
    return next((name for magic, name in PACKED.items() if first.startswith(magic)), None)


def read_text_bytes(path: Path, reading: Reading) -> bytes:
    """Return the whole text of a file in UTF-8, without a byte order mark.

    Raises:
        DataError: If it is an archive, its encoding is unknown, or another one than was said.
        OSError: If it cannot be read, or is cut off.
    """
    first = first_bytes(path)
    for magic, what in ARCHIVES.items():
        if first.startswith(magic):
            raise DataError(f"{path} is {what}: unpack it, or save the table as CSV, JSON Lines or Parquet")
    with pa.input_stream(str(path), compression=packing(first)) as stream:
        data: bytes = stream.read()
    for mark, marked in MARKS.items():
        if data.startswith(mark):
            text = data[len(mark) :]
            return text if marked == "utf-8" else _decoded(text, marked, path).encode()
    if reading.encoding is None:
        if b"\0" in data[:1000]:
            option = reading.options.encoding.format(encoding="utf-16-le" if data[:1] != b"\0" else "utf-16-be")
            raise DataError(
                f"{path} must be UTF-8, got NUL bytes among its first, as in UTF-16 without a byte order mark: "
                f"say so with {option}"
            )
        return data
    return _transcoded(data, reading.encoding, path, reading)


def not_utf8(data: bytes, path: Path, reading: Reading, *, first_line: int = 1) -> DataError | None:
    """Return the error that names the first byte of a text that is not UTF-8; None if all of it is."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + first_line
        start = data.rfind(b"\n", 0, error.start) + 1
        end = data.find(b"\n", error.start)
        shown = data[max(start, error.start - 20) : min(end if end >= 0 else len(data), error.start + 10)]
        option = reading.options.encoding.format(encoding="cp1252")
        return DataError(
            f"{path} must be UTF-8, got byte 0x{data[error.start]:02x} in line {line} "
            f"('{shown.decode('latin-1')}' in Latin-1): say which encoding it is in, such as {option}, "
            "or save it as UTF-8"
        )
    return None


def _transcoded(data: bytes, encoding: str, path: Path, reading: Reading) -> bytes:
    try:
        name = codecs.lookup(encoding).name
        text = _decoded(data, encoding, path)
    except LookupError as error:
        option = reading.options.encoding.format(encoding=encoding)
        raise DataError(f"{option}: there is no such encoding; try utf-8, cp1252, latin-1 or utf-16") from error
    if name == LATIN_1 and re.search("[\x80-\x9f]", text):
        raise DataError(
            f"{path} holds bytes from 0x80 to 0x9f, for which Latin-1 has no letters: say cp1252 instead, with "
            + reading.options.encoding.format(encoding="cp1252")
        )
    return text.encode()


def _decoded(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read in {encoding}: {error.reason} at byte {error.start:,}; it is in another encoding"
        ) from error

"""Opens CSV and TSV: finds the delimiter, and makes sure that no row is lost between quotation marks."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from trident.data.opened import OpenedTable, Wanted
from trident.data.reading import Reading
from trident.data.text_bytes import not_utf8
from trident.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
BLOCK_SIZES = (1 << 20, 1 << 26, 1 << 30)  # bytes; a row must fit into one

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Text:
    """A delimited text without its header: UTF-8, its delimiter, its columns, and the line on which it starts."""

    data: bytes
    delimiter: str
    columns: int
    first_line: int
    path: Path
    reading: Reading


def open_delimited(data: bytes, path: Path, kind: str, wanted: Wanted, reading: Reading) -> OpenedTable:
    """Return a table of text.

    Args:
        data: UTF-8, a header and rows.
        path: What errors name.
        kind: ``.csv`` or ``.tsv``: says which delimiter is taken where the header does not tell.
        wanted: Names that the header should have.
        reading: Names the options in errors.

    Raises:
        DataError: If the header or a row cannot be read, or rows stand between quotation marks.
    """
    header, first_line, rest = _header(data)
    try:
        line = header.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(data, path, reading) or error from error
    delimiter = line[4] if re.fullmatch(r"sep=.", line) else None  # as Excel writes it
    if delimiter is not None:
        header, more, rest = _header(rest)
        line, first_line = header.decode(), first_line + more
    delimiter = delimiter or _delimiter(line, DELIMITERS[kind], wanted)
    names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [""])]
    if delimiter != DELIMITERS[kind]:
        logger.info("%s: columns are told apart by the %s", path, NAMES.get(delimiter, f"'{delimiter}'"))
    text = _Text(rest, delimiter, len(names), first_line, path, reading)
    rows = None if rest.strip() else 0
    return OpenedTable(names, rows, lambda positions: _read(text, positions), guessed=True)


def _header(data: bytes) -> tuple[bytes, int, bytes]:
    """Return the first line that is not blank, the number of the line after it, and the rest."""
    start, line = 0, 1
    for end in _line_ends(data):
        after, line = end + (2 if data[end : end + 2] == b"\r\n" else 1), line + 1
        if data[start:end].strip() and data.count(b'"', start, end) % 2 == 0:
            return data[start:end], line, data[after:]
        if not data[start:end].strip():
            start = after
    return data[start:], line, b""


def _line_ends(data: bytes) -> Iterator[int]:
    start = 0
    while found := re.compile(rb"\r\n|\n|\r").search(data, start):
        yield found.start()
        start = found.end()


def _delimiter(header: str, own: str, wanted: Wanted) -> str:
    """Return the delimiter that finds most of the wanted names; else the file's own, else the most frequent one."""

    def fitness(delimiter: str) -> tuple[int, bool, int]:
        names = {name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])}
        return len(names & wanted.contract), delimiter == own and delimiter in header, header.count(delimiter)

    return max((own, *(other for other in NAMES if other != own)), key=fitness)


def _read(text: _Text, positions: Sequence[int]) -> pa.Table:
    quoted = b'"' in text.data
    if quoted and text.delimiter == "\t" and _stands_without_quoting(text):
        logger.info("%s: quotation marks are part of the text, since every line is a row without them", text.path)
        quoted = False
    try:
        table = _parse(text, positions, quoted=quoted)
    except pa.ArrowInvalid as error:
        raise _fault(text, error) from error
    lines = text.data.count(b"\n") + (not text.data.endswith(b"\n"))
    if table.num_rows != lines:  # blank lines, or line breaks in values, or rows that quotation marks swallow
        fault, records = _first_fault(text) if quoted else (None, _records_without_quoting(text))
        if fault is not None:
            raise DataError(fault)
        assert records == table.num_rows, f"{text.path}: {records} rows, {table.num_rows} read"
    return table


def _parse(text: _Text, positions: Sequence[int], *, quoted: bool) -> pa.Table:
    names = [str(number) for number in range(text.columns)]
    kept = [names[position] for position in positions]
    for block_size in BLOCK_SIZES:
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(text.data),
                read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=block_size),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=text.delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
                ),
                # everything is text and nothing is null
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(kept, pa.string()), include_columns=kept, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or block_size == BLOCK_SIZES[-1]:
                raise
    raise AssertionError("the last size raises")


def _records(text: _Text) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield the number of the first line, the lines and the fields of every record that is not blank."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text.data)))
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text.data.decode(errors="replace"), newline=""):
            taken.append(line)
            yield line

    number = text.first_line
    for fields in csv.reader(lines(), delimiter=text.delimiter):
        if fields:
            yield number, taken.copy(), fields
        number += len(taken)
        taken.clear()


def _first_fault(text: _Text) -> tuple[str | None, int]:
    """Return what is wrong with the first record that is no row, and how many records there are up to it."""
    count = 0
    for number, lines, fields in _records(text):
        count += 1
        last = number + len(lines) - 1
        if len(lines) > 1 and (_swallows(lines, text) or not _is_strict(lines, text)):
            return (
                f"{text.path}: a quotation mark in line {number} takes the text up to line {last} into one value, "
                "which does not look like one: double each quotation mark of the text and quote the whole value "
                '("shelf 48"" wide"), or save the file as JSON Lines or Parquet'
            ), count
        if len(fields) != text.columns:
            what = NAMES.get(text.delimiter, text.delimiter)
            return (
                f"{text.path} cannot be read as {text.path.suffix[1:] or 'csv'}: line {number} has {len(fields)} "
                f"columns and the header {text.columns}: put a value that holds a {what} into quotation marks"
            ), count
    return None, count


def _swallows(lines: Sequence[str], text: _Text) -> bool:
    """Return whether each line of a record would be a row by itself."""
    return all(line.count(text.delimiter) == text.columns - 1 for line in lines)


def _is_strict(lines: Sequence[str], text: _Text) -> bool:
    """Return whether each quotation mark of a record opens or closes a value, or stands twice."""
    try:
        return sum(1 for _ in csv.reader(lines, delimiter=text.delimiter, strict=True)) == 1
    except csv.Error:
        return False


def _stands_without_quoting(text: _Text) -> bool:
    """Return whether quotation marks of a TSV are part of its text: nothing is quoted well, and each line is a row."""
    whole = rb'(?m)(?:^|\t)"[^"\t\r\n]*"(?:\t|\r?$)'
    if re.search(whole, text.data) or all(
        _is_strict(lines, text) and len(lines) == 1 for _, lines, _ in _records(text)
    ):
        return False
    lines = text.data.split(b"\n")
    return all(line.count(b"\t") == text.columns - 1 for line in lines if line.strip(b"\r"))


def _records_without_quoting(text: _Text) -> int:
    return sum(1 for line in io.StringIO(text.data.decode(errors="replace"), newline="") if line.strip("\r\n"))


def _fault(text: _Text, error: Exception) -> DataError:
    bad = not_utf8(text.data, text.path, text.reading, first_line=text.first_line)
    if bad is not None and "UTF8" in str(error):
        return bad
    fault, _ = _first_fault(text)
    return DataError(
        fault or f"{text.path} cannot be read as {text.path.suffix[1:] or 'csv'}: {str(error).splitlines()[0]}"
    )

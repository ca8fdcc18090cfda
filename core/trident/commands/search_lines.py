"""``trident search -``: the queries of standard input, a line each, answered as they come; one JSON line each."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trident.commands.output import messages, print_json, say
from trident.errors import DataError, TridentError
from trident.progress import progress_bar

CHUNK_BYTES = 65_536
AT_ONCE = 64  # queries a request


@dataclasses.dataclass(frozen=True)
class Line:
    """A query and the number of its line, from 1."""

    number: int
    query: str


def read_lines(descriptor: int) -> Iterator[list[Line]]:
    """Yield what has come so far, ``AT_ONCE`` lines at most, without waiting for more; blank lines are left out.

    Raises:
        DataError: If a line is not UTF-8.
    """
    rest, number = b"", 0
    while True:
        chunk = os.read(descriptor, CHUNK_BYTES)
        *whole, rest = (rest + chunk).split(b"\n")
        if not chunk and rest:
            whole, rest = [rest], b""
        lines = []
        for content in whole:
            number += 1
            text = _text(content, number)
            if text:
                lines.append(Line(number, text))
        for start in range(0, len(lines), AT_ONCE):
            yield lines[start : start + AT_ONCE]
        if not chunk:
            return


def answer_lines(search: Callable[[Sequence[str]], Sequence[Any]], descriptor: int) -> None:
    """Print what is found for each query of a descriptor, as one JSON document a line, in order.

    Args:
        search: Returns the results of queries, dataclasses; its errors are ours.
        descriptor: Such as that of standard input.

    Raises:
        TridentError: As ``search``'s, with the lines that it was asked.
    """
    count = 0
    with progress_bar(messages, "searching", None) as advance:
        for lines in read_lines(descriptor):
            try:
                results = search([line.query for line in lines])
            except TridentError as error:
                where = (
                    f"line {lines[0].number}" if len(lines) == 1 else f"lines {lines[0].number} to {lines[-1].number}"
                )
                raise type(error)(f"{error} ({where} of standard input; {count} queries were answered)") from error
            for line, result in zip(lines, results, strict=True):
                print_json({"line": line.number, **dataclasses.asdict(result)})
            sys.stdout.flush()
            count += len(lines)
            advance(len(lines))
    if not count:
        raise DataError("standard input must hold a query a line, got none: printf 'red sofa\\n' | trident search -")
    say(f"{count} queries were answered", style="dim")


def _text(content: bytes, number: int) -> str:
    try:
        return content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(
            f"queries must be UTF-8, got {content[:20]!r} in line {number} of standard input ({error.reason}): "
            "iconv -t utf-8 converts them"
        ) from error

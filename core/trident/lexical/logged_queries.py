"""What was asked, how often, and what of it may be shown to others.

People type private things into search boxes. A query is suggested only from a set count on; the query log knows nobody,
so that a query counts once an hour: who pages, reloads or asks again counts once. What looks like a person's data
(an address with ``@``, a telephone number) never is, nor what the block list names.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trident.data.clicks import LOGS
from trident.data.reading import Reading
from trident.data.tables import read_table
from trident.errors import DataError
from trident.lexical.suggestions import Suggested, typed

MIN_COUNT = 5  # hours in which a query was asked: one person's own words seldom come back so often
HOUR = len("2026-11-30T05")  # characters of a time
PRIVATE = re.compile("@|\\d(?:[\\s().\u2010-\u2015-]{0,3}\\d){6,}")  # dashes of any length
WORD = re.compile(r"[^\W_]+")


class BlockList:
    """Words, or runs of them, that no suggestion holds.

    Args:
        lines: One a line; an empty one, or one that begins with #, is none.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        """Sort them by their words."""
        runs = (tuple(WORD.findall(typed(line))) for line in lines if not line.lstrip().startswith("#"))
        self._runs = {run for run in runs if run}
        self._longest = max(map(len, self._runs), default=0)

    @classmethod
    def read(cls, path: Path) -> BlockList:
        """Return the list of a file in UTF-8.

        Raises:
            DataError: If it cannot be read.
        """
        try:
            return cls(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"block list {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._runs)

    def blocks(self, text: str) -> bool:
        """Return whether a text holds one of them."""
        if not self._runs:
            return False
        words = tuple(WORD.findall(text))
        lengths = range(1, self._longest + 1)
        return any(words[start : start + length] in self._runs for start in range(len(words)) for length in lengths)


def read_queries(path: Path) -> Counter[str]:
    """Return how often each query was asked, in the form of suggestions.

    Args:
        path: A query log, a folder of generations (all logs in it), or a table with columns ``query`` and ``count``.

    Raises:
        DataError: If it cannot be read, or holds no query.
    """
    logs = [log for pattern in LOGS for log in sorted(path.glob(pattern))] if path.is_dir() else []
    if not logs and (path.name.endswith((".jsonl", ".jsonl.1")) and path.is_file()):
        logs = [path]
    counts: Counter[str] = Counter()
    if logs:
        hours = {hour for log in logs for hour in _hours(log)}
        counts.update(query for query, _ in hours)
    else:
        for query, count in _counted(path):
            counts[query] += count
    if not counts:
        raise DataError(f"{path} must hold queries, got none: is the query log on (trident serve --query-log)?")
    return counts


def suggested_queries(counts: Counter[str], *, min_count: int = MIN_COUNT) -> Iterator[Suggested]:
    """Yield the queries that may be shown to others, with their counts."""
    for query, count in counts.items():
        if count >= min_count and not PRIVATE.search(query):
            yield Suggested(query, "query", count)


def _hours(log: Path) -> Iterator[tuple[str, str]]:
    """Yield the queries of a log that found something, each with its hour; a line that was cut off is left out."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")  # a query may hold other line breaks
    except OSError as error:
        raise DataError(f"query log {log} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "count" in entry:
            raise DataError(f"line {number} of {log} is none of a query log; a file with counts is a .csv or .parquet")
        query, time = entry.get("query"), entry.get("time")
        if isinstance(query, str) and isinstance(time, str) and entry.get("shown") != []:
            yield typed(query).strip(), time[:HOUR]


def _counted(path: Path) -> Iterator[tuple[str, int]]:
    columns = ("query", "count")
    table = read_table(path, Reading(), required=columns, known=columns)
    for number, (query, count) in enumerate(zip(*(table[name].to_pylist() for name in columns), strict=True), start=1):
        try:
            asked = int(float(count))
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"count must be a number, got {count!r} in row {number} of {path}") from error
        if query and query.strip():
            yield typed(query).strip(), asked

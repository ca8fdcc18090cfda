"""The query log: one JSON line a search, with the time, the generation and the query as it was typed; nothing else.

It is off unless ``trident serve`` is told otherwise: what people type may be personal. Only the file's owner may read
it. Several processes write to it; where it would grow too large it becomes ``<name>.1``, in place of the one before.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from trident.background import Background
from trident.watch.serving_metrics import LOG_DROPPED, LOG_LINES, ServingMetrics

WAITING = 4096  # queries that may wait to be written
MODE = 0o600
REST_S = 0.5  # between two writes: one for each query would take the interpreter from those who answer

logger = logging.getLogger(__name__)


class QueryLog:
    """Writes queries to a file, off the request path; a query that cannot be written is counted, never an error.

    Args:
        path: The file.
        generation: The id of the generation that answers.
        max_bytes: Size at which the file is put aside.
        metrics: Where lines are counted.
    """

    def __init__(self, path: Path, generation: str, *, max_bytes: int, metrics: ServingMetrics) -> None:
        """Start the thread; the file is made when the first query comes."""
        self._path = path
        self._generation = generation
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._failing = False
        self._work: Background[tuple[str, str]] = Background(self._write, capacity=WAITING, name="query-log")

    def add(self, queries: Sequence[str]) -> None:
        """Take queries that are being answered; never waits."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        dropped = sum(not self._work.offer((time, query)) for query in queries)
        if dropped:
            self._metrics.add({LOG_DROPPED: dropped})

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._work.close()

    def _write(self, rows: list[tuple[str, str]]) -> None:
        lines = [{"time": time, "generation": self._generation, "query": query} for time, query in rows]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        try:
            append(self._path, content, max_bytes=self._max_bytes)
        except OSError as error:  # a full disk stops no search
            if not self._failing:
                logger.warning("the query log %s cannot be written: %s", self._path, error)
            self._failing = True
            self._metrics.add({LOG_DROPPED: len(rows)})
        else:
            self._failing = False
            self._metrics.add({LOG_LINES: len(rows)})
        self._work.rest(REST_S)


def append(path: Path, content: bytes, *, max_bytes: int) -> None:
    """Append to a file that other processes append to as well, and put it aside first where it would grow too large.

    Raises:
        OSError: If it cannot be written; a part of the content may have been.
    """
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if not _is_still(descriptor, path):  # another process put it aside meanwhile
                continue
            if size and size + len(content) > max_bytes:
                path.replace(path.with_name(f"{path.name}.1"))
                continue
            written = file.write(content)
            if written != len(content):
                os.ftruncate(descriptor, size)  # half a line would spoil the next one
                raise OSError(f"only {written} of {len(content)} bytes could be written")
            return


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)

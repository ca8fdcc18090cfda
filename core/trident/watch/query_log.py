"""The query log: one JSON line a search: the time, the generation, the query as it was typed, and what was shown.

A line carries the answer's id where whoever asked made one (the client does), so that a shop can join what people did
with the answer to it: ``trident pairs-from-clicks``. Where the retriever is a model of its own, it writes what was
shown on a line of its own, with the same id.

It is off unless ``trident serve`` is told otherwise: what people type may be personal. Only the file's owner may read
it. Several processes write to it; where it would grow too large it becomes ``<name>.1``, in place of the one before.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trident.background import Background
from trident.retrieval.retriever import Hits
from trident.watch.serving_metrics import LOG_DROPPED, LOG_LINES, ServingMetrics

WAITING = 4096  # queries that may wait to be written
MODE = 0o600
SHOWN = 100  # products of an answer that are written down; nobody looks at more
ID_LENGTH = 100
REST_S = 0.5  # between two writes: one for each query would take the interpreter from those who answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Asked:
    """One request: its B queries, None where another model writes them; its id; its B answers, None without any."""

    time: str
    queries: Sequence[str] | None
    request_id: str
    hits: Hits | None


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
        self._work: Background[Asked] = Background(self._write, capacity=WAITING, name="query-log")

    def add(self, queries: Sequence[str] | None, request_id: str = "", hits: Hits | None = None) -> None:
        """Take the queries of a request, what was found for them, or both; never waits.

        Args:
            queries: One a row; None: another model writes them.
            request_id: As whoever asked calls the request; a row's answer is called that and its number.
            hits: One row a query.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        if not self._work.offer(Asked(time, queries, request_id[:ID_LENGTH], hits)):
            self._metrics.add({LOG_DROPPED: len(queries or ())})

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._work.close()

    def _write(self, asked: list[Asked]) -> None:
        lines = [line for each in asked for line in self._lines(each)]
        queries = sum("query" in line for line in lines)
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        try:
            append(self._path, content, max_bytes=self._max_bytes)
        except OSError as error:  # a full disk stops no search
            if not self._failing:
                logger.warning("the query log %s cannot be written: %s", self._path, error)
            self._failing = True
            self._metrics.add({LOG_DROPPED: queries})
        else:
            self._failing = False
            self._metrics.add({LOG_LINES: queries})
        self._work.rest(REST_S)

    def _lines(self, asked: Asked) -> Iterator[dict[str, Any]]:
        rows = len(asked.queries) if asked.queries is not None else len(asked.hits.counts) if asked.hits else 0
        for row in range(rows):
            if asked.queries is not None and not asked.queries[row].strip():  # who browses asks nothing
                continue
            line: dict[str, Any] = {"time": asked.time, "generation": self._generation}
            if asked.request_id:
                line["id"] = f"{asked.request_id}-{row}"
            if asked.queries is not None:
                line["query"] = asked.queries[row]
            if asked.hits is not None:
                shown = asked.hits.product_ids[row, : min(int(asked.hits.counts[row, 0]), SHOWN)]
                line["shown"] = [product.decode() for product in shown.tolist()]
                details = json.loads(asked.hits.details[row, 0])
                if "sequence" in details:  # of a live catalogue: how far its log had been read
                    line["sequence"] = details["sequence"]
                if "rules" in details:  # which ones changed the answer
                    line["rules"] = details["rules"]["version"]
            yield line


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

"""The queries that generations are compared with: of a file, or the last of the query logs."""

from __future__ import annotations

import json
from pathlib import Path

from trident.data.reading import QUERY_COLUMNS, Reading
from trident.data.tables import read_table, require_text
from trident.data.text_bytes import not_utf8, read_text_bytes
from trident.errors import DataError

LOGS = (
    ".serving/*/queries.jsonl.1",
    ".serving/*/queries.jsonl",
)  # trident.watch.query_log writes them; .1 is the older one


def read_queries(path: Path, reading: Reading | None = None) -> list[str]:
    """Return the queries of a text file, one a line, or of the column ``query`` of a table.

    Args:
        path: The file.
        reading: Its own name for that column, and its encoding.

    Raises:
        DataError: If the file is missing, of another kind, or holds no query.
    """
    reading = reading or Reading()
    if path.suffix.lower() != ".txt":
        table = read_table(path, reading, required=QUERY_COLUMNS, known=QUERY_COLUMNS)
        require_text(table, "query", path)
        queries: list[str] = table["query"].to_pylist()
        return queries
    if reading.columns:
        raise DataError(f"{path} has no columns that could be mapped, it holds one query a line")
    try:
        data = read_text_bytes(path, reading)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    bad = not_utf8(data, path, reading)
    if bad is not None:
        raise bad
    lines = data.decode().splitlines()
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise DataError(f"{path} must hold at least one query, one a line, got none")
    return found


def logged_queries(generations: Path, most: int) -> list[str]:
    """Return the last queries that the servers of a folder of generations were asked, the latest last.

    A line that was cut off by a kill or a full disk is left out.

    Raises:
        DataError: If there is no query log, or no query in it.
    """
    rows = []
    for path in (path for pattern in LOGS for path in sorted(generations.glob(pattern))):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):  # nothing else ends one
            try:
                row = json.loads(line)
                rows.append((str(row["time"]), str(row["query"])))
            except (ValueError, KeyError, TypeError):
                continue
    rows.sort(key=lambda row: row[0])
    found = [query for _, query in rows if query.strip()][-most:]
    if not found:
        raise DataError(f"{generations} has no logged query: start trident serve with its query log, or give --queries")
    return found

"""Where the queries of a comparison come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trident.comparison.compared_queries import logged_queries, read_queries
from trident.errors import DataError


def test_queries_are_read_from_lines_and_from_tables(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("red sofa\n\n  Kaffeemühle \n", encoding="utf-8")
    assert read_queries(tmp_path / "lines.txt") == ["red sofa", "Kaffeemühle"]
    (tmp_path / "table.csv").write_text("n,query\n1,red sofa\n2,lamp\n")
    assert read_queries(tmp_path / "table.csv") == ["red sofa", "lamp"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, r"none\.txt cannot be read: .*No such file"),
        (
            "latin.txt",
            "Mühle".encode("latin-1"),
            r"latin\.txt must be UTF-8, got byte 0xfc in line 1 .*--encoding cp1252",
        ),
        ("empty.txt", b"\n \n", r"empty\.txt must hold at least one query, one a line, got none"),
        ("other.csv", b"text\nsofa\n", "column 'query' is missing in"),
        ("blank.csv", b"query,n\nsofa,1\n,2\n", "column 'query' must not be empty: 1 row is, the first is row 2"),
    ],
)
def test_files_without_queries_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_queries(tmp_path / name)


def write_log(path: Path, rows: list[tuple[int, str]], ending: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"time": f"2026-11-24T10:00:{second:02d}.000+00:00", "generation": "a", "query": query})
        for second, query in rows
    ]
    path.write_text("\n".join(lines) + "\n" + ending)


def test_the_last_logged_queries_of_all_servers_are_taken(tmp_path: Path) -> None:
    serving = tmp_path / ".serving"
    write_log(serving / "8000" / "queries.jsonl.1", [(1, "first"), (2, "second")])
    write_log(serving / "8000" / "queries.jsonl", [(3, "third"), (6, " ")], '{"time": "2026-11-24T10:00:07", "que')
    write_log(serving / "9000" / "queries.jsonl", [(4, "fourth")])
    assert logged_queries(tmp_path, 100) == ["first", "second", "third", "fourth"]
    assert logged_queries(tmp_path, 3) == ["second", "third", "fourth"]


def test_no_logged_query_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no logged query: start trident serve with its query log"):
        logged_queries(tmp_path, 5)

"""Queries of standard input: read as they come, answered in order, wrong ones named by their line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from trident.commands.search_lines import answer_lines, read_lines
from trident.errors import DataError, ServerError


@dataclass(frozen=True)
class Result:
    query: str


def ask(queries: Sequence[str]) -> list[Result]:
    return [Result(query.upper()) for query in queries]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def write(descriptor: int, content: bytes) -> None:
    """Write more than a pipe holds, too, and close it."""

    def fill() -> None:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    threading.Thread(target=fill).start()


def test_each_line_is_answered_in_order(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    write(pipe[1], "\ufeffröd soffa\r\n\n  \n[bold]lamp[/bold]\nlast one".encode())
    answer_lines(ask, pipe[0])
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["line"] for row in rows] == [1, 4, 5]
    assert [row["query"] for row in rows] == ["RÖD SOFFA", "[BOLD]LAMP[/BOLD]", "LAST ONE"]
    assert said.err == "3 queries were answered\n"


def test_ten_thousand_lines_are_asked_64_at_a_time(pipe: tuple[int, int]) -> None:
    write(pipe[1], b"".join(b"query number %d\n" % number for number in range(10_000)))
    parts = list(read_lines(pipe[0]))
    assert max(len(part) for part in parts) == 64
    assert [line.query for part in parts for line in part] == [f"query number {number}" for number in range(10_000)]
    assert [line.number for part in parts for line in part] == list(range(1, 10_001))


def test_a_line_is_answered_before_the_next_one_comes(pipe: tuple[int, int]) -> None:
    lines = read_lines(pipe[0])
    for query in ("first", "second"):
        os.write(pipe[1], f"{query}\n".encode())
        assert [line.query for line in next(lines)] == [query]
    os.close(pipe[1])
    assert list(lines) == []


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\n"])
def test_no_query_is_refused(pipe: tuple[int, int], content: bytes) -> None:
    write(pipe[1], content)
    with pytest.raises(DataError, match=r"^standard input must hold a query a line, got none: printf"):
        answer_lines(ask, pipe[0])


def test_a_line_in_another_encoding_is_named(pipe: tuple[int, int]) -> None:
    write(pipe[1], b"sofa\nGr\xf6\xdfe\n")
    with pytest.raises(DataError, match=r"^queries must be UTF-8, got b'Gr\\xf6\\xdfe' in line 2 of standard input"):
        answer_lines(ask, pipe[0])


def test_what_the_server_refuses_says_where(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    def refuse_last(queries: Sequence[str]) -> list[Result]:
        if "bad" in queries:
            raise ServerError("query must have at most 10,000 bytes, got 10,001")
        return ask(queries)

    write(pipe[1], b"sofa\n" * 64 + b"lamp\nbad\n")
    where = r"\(lines 65 to 66 of standard input; 64 queries were answered\)$"
    with pytest.raises(ServerError, match=rf"^query must have at most 10,000 bytes, got 10,001 {where}"):
        answer_lines(refuse_last, pipe[0])
    assert len(capsys.readouterr().out.splitlines()) == 64

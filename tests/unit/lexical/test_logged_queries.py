"""What of the queries of people may be shown to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trident.errors import DataError
from trident.lexical.logged_queries import MIN_COUNT, BlockList, read_queries, suggested_queries


def line(query: str, hour: int, minute: int = 0, **more: Any) -> str:
    return json.dumps({"time": f"2026-11-30T{hour:02d}:{minute:02d}:00.000+00:00", "query": query, **more})


def test_a_query_counts_once_an_hour(tmp_path: Path) -> None:
    log = tmp_path / "queries.jsonl"
    lines = [line("USB  Hub", 5, minute) for minute in range(20)] + [line("usb hub ", 6), line("lamp", 6, shown=["1"])]
    lines += [line("nothing", 6, shown=[]), '{"half', json.dumps({"id": "a-0", "time": "t", "shown": ["1"]})]
    log.write_text("\n".join(lines), encoding="utf-8")
    assert read_queries(log) == {"usb hub": 2, "lamp": 1}


def test_a_query_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    """Only a line feed ends a line of a log: what people type must neither cut one nor look like another file."""
    log = tmp_path / "queries.jsonl"
    typed = ["lamp\u20285\u2028red", "sofa\x85blue", "desk\u2029[]\u2029"]
    rows = [{"time": "2026-11-30T05:00:00.000+00:00", "query": query, "shown": ["1"]} for query in typed]
    log.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert read_queries(log) == {"lamp 5 red": 1, "sofa blue": 1, "desk []": 1}


def test_the_logs_of_a_folder_of_generations_are_read_together(tmp_path: Path) -> None:
    for port, name, hour in ((8000, "queries.jsonl.1", 4), (8000, "queries.jsonl", 5), (9000, "queries.jsonl", 5)):
        folder = tmp_path / ".serving" / str(port)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(line("lamp", hour) + "\n" + line("sofa", hour))
    assert read_queries(tmp_path) == {"lamp": 2, "sofa": 2}
    assert read_queries(tmp_path / ".serving" / "8000" / "queries.jsonl.1") == {"lamp": 1, "sofa": 1}


def test_a_table_has_counts_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("query,count\nUSB Hub,7\nusb hub,3\nlamp,2\n ,9\n")
    assert read_queries(path) == {"usb hub": 10, "lamp": 2}
    path.write_text("query,count\nlamp,many\n")
    with pytest.raises(DataError, match=r"^count must be a number, got 'many' in row 1 of .*counts\.csv$"):
        read_queries(path)


def test_a_file_without_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_queries(tmp_path / "nothing.csv")
    log = tmp_path / "queries.jsonl"
    log.write_text("")
    with pytest.raises(DataError, match="must hold queries, got none: is the query log on"):
        read_queries(log)
    log.write_text('{"query": "lamp", "count": 7}\n')
    with pytest.raises(DataError, match=r"^line 1 of .* is none of a query log; a file with counts is a \.csv or"):
        read_queries(log)
    (tmp_path / ".serving" / "8000" / "queries.jsonl").mkdir(parents=True)
    with pytest.raises(DataError, match=r"^query log .* cannot be read: Is a directory$"):
        read_queries(tmp_path)


def test_a_query_is_shown_from_a_set_count_on_and_never_what_looks_private(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    rows = {"lamp": MIN_COUNT, "a rare wish": MIN_COUNT - 1, "ann@example.org": 99, "0171 555-1234": 99}
    rows |= {"my number is 01715551234": 99, "wh-1000xm4": 9, "ean 4006381333931": 50, "iphone 13 128": 6}
    rows |= {"555\u2013123\u20134567": 99, "+49 (30) 90-18 20": 99}
    path.write_text("query,count\n" + "".join(f"{query},{count}\n" for query, count in rows.items()))
    counts = read_queries(path)
    shown = {each.text: each.count for each in suggested_queries(counts)}
    assert shown == {"lamp": MIN_COUNT, "wh-1000xm4": 9, "iphone 13 128": 6}
    rows |= {"555\u2013123\u20134567": 99, "+49 (30) 90-18 20": 99}
    assert {each.source for each in suggested_queries(counts)} == {"query"}
    assert {each.text for each in suggested_queries(counts, min_count=9)} == {"wh-1000xm4"}


def test_a_block_list_names_words_and_runs_of_words(tmp_path: Path) -> None:
    path = tmp_path / "blocked.txt"
    path.write_text("# not these\n\nRotten\nblack  magic\nü-ei\n", encoding="utf-8")
    blocked = BlockList.read(path)
    assert len(blocked) == 3
    for text in ("rotten eggs", "eggs, rotten", "black magic book", "old black-magic", "so_rotten_eggs", "ü ei"):
        assert blocked.blocks(text), text
    for text in ("rottenest", "black lamp magic", "magic black", "eggs", ""):
        assert not blocked.blocks(text), text
    assert not BlockList().blocks("rotten")
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"^block list .* cannot be read: 'utf-8' codec"):
        BlockList.read(path)
    with pytest.raises(DataError, match=r"^block list .* cannot be read: No such file"):
        BlockList.read(tmp_path / "nothing")

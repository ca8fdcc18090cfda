"""Off a terminal long work says now and then how far it is and how long it will take."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from trident.progress import Lines, progress_bar, time_text


def console() -> Console:
    return Console(file=io.StringIO(), width=40)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_line_says_how_far_and_how_long() -> None:
    out = console()
    lines = Lines(out, "embedding", 530_865, every_s=0.05)
    lines.advance(1_000)
    assert said(out) == [], "it has only begun"
    time.sleep(0.06)
    lines.advance(200_000)
    lines.advance(1)
    (line,) = said(out)
    assert re.fullmatch(r"embedding: 201,000 of 530,865, [\d,]+/s, about \d+ s left", line)


def test_without_a_total_nothing_is_foretold() -> None:
    out = console()
    lines = Lines(out, "reading", None, every_s=0.0)
    lines.advance(7)
    (line,) = said(out)
    assert re.fullmatch(r"reading: 7, [\d,]+/s", line)


def test_short_work_says_nothing_off_a_terminal() -> None:
    out = console()
    with progress_bar(out, "embedding", 10) as advance:
        advance(10)
    assert said(out) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (9000, "2 h 30 min")]
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert time_text(seconds) == text

"""Off a terminal long work says now and then how far it is and how long it will take."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trident.progress import Lines, progress_bar, time_text


def console() -> Console:
    return Console(file=io.StringIO(), width=40)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_line_says_how_far_and_how_long() -> None:
    out, now_s = console(), 100.0
    lines = Lines(out, "embedding", 530_865, clock=lambda: now_s)
    now_s += 29
    lines.advance(1_000)
    assert said(out) == [], "it has only begun"
    now_s += 1
    lines.advance(200_000)
    lines.advance(1)
    assert said(out) == ["embedding: 201,000 of 530,865, 6,700/s, about 49 s left"]


def test_without_a_total_nothing_is_foretold() -> None:
    out = console()
    now_s = 100.0
    lines = Lines(out, "reading", None, clock=lambda: now_s)
    now_s += 70
    lines.advance(700)
    assert said(out) == ["reading: 700, 10/s"]


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

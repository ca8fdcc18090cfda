"""Queries, titles and names of files are text: what looks like markup or an emoji's name is shown as it is."""

from __future__ import annotations

import io

import pytest

from trident.commands.gate_table import gate_table
from trident.commands.output import figures_table, print_table, say, say_table
from trident.commands.quality_table import quality_table
from trident.progress import plain_console, progress_bar
from trident.quality.gate_report import GateCheck, GateReport

TEXTS = [
    "lamp [refurbished]",
    "usb cable [/b]",
    "[red]rug[/red]",
    "mug :coffee: 300 ml",
    "[link=x]y",
    "\\[a] [",
    "$x$ <b>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_table_shows_texts_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for show in (print_table, say_table):
        table = figures_table(text, "model", f"of {text}")
        table.caption = text
        table.add_row(text, "1.0")
        show(table)
    printed = capsys.readouterr()
    for stream in (printed.out, printed.err):
        assert stream.count(text) == 4  # title, column, cell, caption


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_shows_texts_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"wrote {text}")
    say(text, style="bold red")
    assert capsys.readouterr().err == f"wrote {text}\n{text}\n"


@pytest.mark.parametrize("text", TEXTS)
def test_tables_of_commands_show_texts_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    judged = {
        "roc_auc": {"value": 0.5, "low": 0.4, "high": 0.6},
        "ndcg_at_10": 0.5, "mrr_at_10": 0.5, "pairs": 4, "queries": 2,
    }  # fmt: skip
    print_table(quality_table(f"{text}.csv", [{"name": text, "judged": judged, "catalogue": None}]))
    assert capsys.readouterr().out.count(text) == 2
    check = GateCheck(name="golden", rule=f"the answer to {text}", value=1.0, bound=1.0, passed=True)
    report = GateReport(
        candidate="abc", serving=None, measured_at="2026-11-29", checks=(check,), notes=(text,), config={}
    )
    print_table(gate_table(report))
    assert capsys.readouterr().out.count(text) == 2


@pytest.mark.parametrize("text", TEXTS)
def test_progress_shows_texts_as_they_are(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
    monkeypatch.setenv("TERM", "xterm")
    console = plain_console(stderr=True, width=200)
    console.file = io.StringIO()
    with progress_bar(console, text, 3) as advance:
        advance(1)
    assert text in console.file.getvalue()

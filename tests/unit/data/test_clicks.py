"""Pairs from clicks: what counts as relevant at its place, and what is left out or refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from trident.data.catalogue import read_catalogue
from trident.data.clicks import (
    Click,
    ClickRule,
    Impression,
    pairs_from_clicks,
    read_clicks,
    read_impressions,
)
from trident.data.pairs import read_pairs
from trident.errors import ConfigError, DataError


def answers(query: str, products: Sequence[str], times: int) -> list[Impression]:
    return [Impression(f"{query} {number}", query, tuple(products)) for number in range(times)]


def write_log(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_clicks_are_held_against_those_of_the_place() -> None:
    """The first place is clicked in 6 of 20 answers, the second in 4: three clicks are enough below, not above."""
    shown = [*answers("sofa", ["a", "b"], 10), *answers("lamp", ["c", "d"], 10)]
    clicks = [
        *(Click(f"sofa {number}", "a") for number in range(2)),
        *(Click(f"lamp {number}", "c") for number in range(4)),
        *(Click(f"sofa {number}", "b") for number in range(3)),
        Click("lamp 0", "d"),
    ]
    found = pairs_from_clicks(shown, [*clicks, *clicks], ClickRule())  # a second click on the same changes nothing
    figures = {
        pair.product_id: (pair.impressions, pair.clicks, round(pair.expected_clicks, 6), pair.is_relevant)
        for pair in found.pairs
    }
    assert figures == {
        "a": (10, 2, 3.0, False),
        "b": (10, 3, 2.0, True),
        "c": (10, 4, 3.0, True),
        "d": (10, 1, 2.0, False),
    }


def test_spellings_of_a_query_are_one() -> None:
    shown = [Impression("1", " Navy  Sofa", ("a",)), Impression("2", "navy sofa", ("a",))]
    (pair,) = pairs_from_clicks(shown, [Click("2", "a")], ClickRule(min_impressions=2)).pairs
    assert (pair.query, pair.impressions, pair.clicks) == ("Navy  Sofa", 2, 1)


def test_what_is_left_out_is_counted() -> None:
    shown = [*answers("sofa", ["a"], 10), *answers("rare", ["b", "c"], 3)]
    clicks = [Click("sofa 1", "a"), Click("sofa 1", "never shown"), Click("another log", "a")]
    found = pairs_from_clicks(shown, clicks, ClickRule())
    assert [pair.product_id for pair in found.pairs] == ["a"]
    assert (found.few_impressions, found.unknown_clicks) == (2, 2)


def test_a_log_is_read_in_one_line_or_two(tmp_path: Path) -> None:
    folder = tmp_path / "generations"
    write_log(
        folder / ".serving/8000/queries.jsonl.1",
        [{"time": "t", "generation": "g", "id": "a-0", "query": "sofa"}, {"query": "of another client"}, [1], "x"],
    )
    log = folder / ".serving/8000/queries.jsonl"
    write_log(log, [{"id": "a-0", "shown": ["p1", "p2"]}, {"id": "b-0", "query": "lamp", "shown": []}])
    log.write_text(log.read_text("utf-8") + '{"id": "c-0", "query": "cut o', "utf-8")
    assert read_impressions(folder) == [Impression("a-0", "sofa", ("p1", "p2")), Impression("b-0", "lamp", ())]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_impressions": 0}, "^--min-impressions must be >= 1, got 0$"),
        ({"relevant_from": 0}, "^--relevant-from must be > 0, got 0$"),
        ({"relevant_from": float("nan")}, "^--relevant-from must be > 0, got nan$"),
    ],
)
def test_rules(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClickRule(**options)  # type: ignore[arg-type]


def test_clicks_of_other_answers_are_refused() -> None:
    for clicks in ([Click("other", "a")], [Click("sofa 0", "not shown")], []):
        with pytest.raises(DataError, match=r"^clicks must be of answers of the log, got none of \d that is: their id"):
            pairs_from_clicks(answers("sofa", ["a"], 10), clicks, ClickRule())


def test_too_short_a_log_is_refused() -> None:
    with pytest.raises(DataError, match=r"shown 10 times for a query, got 4 at most: .* --min-impressions 4$"):
        pairs_from_clicks(answers("sofa", ["a"], 4), [Click("sofa 0", "a")], ClickRule())


@pytest.mark.parametrize(
    "rows", [[], [{"query": "sofa"}], [{"id": "a-0", "query": "sofa"}], [{"id": "a-0", "shown": ["p"]}]]
)
def test_a_log_without_answers_is_refused(tmp_path: Path, rows: list[object]) -> None:
    log = write_log(tmp_path / "queries.jsonl", rows)
    with pytest.raises(
        DataError, match=r"must hold answers with an id, got none in 1 files: trident serve --query-log"
    ):
        read_impressions(log)


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"queries\.jsonl cannot be read: .*No such file"):
        read_impressions(tmp_path / "queries.jsonl")
    with pytest.raises(DataError, match="got none in 0 files"):
        read_impressions(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("id,product\na-0,p\n", "product_id"), ("id,product_id\n,p\n", "id"), ("id,product_id\na-0, \n", "product_id")],
)
def test_clicks_without_a_column_or_a_value_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        read_clicks(path)


def test_the_command_writes_pairs_that_training_reads(
    tmp_path: Path, run_trident: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    log = write_log(
        tmp_path / "queries.jsonl",
        [{"id": f"{n}-0", "query": "navy, sofa", "shown": ["P1", "P2"]} for n in range(12)],
    )
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("answer,product_id\n" + "".join(f"{n}-0,P2\n" for n in range(3)) + "0-0,P1\n", "utf-8")
    (tmp_path / "products.csv").write_text("product_id,product_title\nP1,Lamp\nP2,Navy sofa\n", "utf-8")
    out = tmp_path / "pairs.csv"
    done = run_trident("pairs-from-clicks", log, clicks, "--out", out, "--column", "id=answer", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["pairs"], said["answers"], said["unknown_clicks"]) == (2, 12, 0)
    pairs = read_pairs(out, catalogue=read_catalogue(tmp_path / "products.csv"))
    assert pairs.queries == ["navy, sofa"] * 2
    assert sorted(pairs.titles) == ["Lamp", "Navy sofa"]
    assert [path.name for path in tmp_path.glob(".*")] == []
    done = run_trident(
        "pairs-from-clicks", log, clicks, "--out", tmp_path / "no" / "pairs.csv", "--column", "id=answer"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--out must be in a folder that is there" in done.stderr

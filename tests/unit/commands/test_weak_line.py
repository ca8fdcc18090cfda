"""An export names the validation queries whose answers are weak."""

from __future__ import annotations

from trident.commands.export import SHOWN_WEAK, weak_line


def test_queries_with_weak_answers_are_named() -> None:
    weak = [f"query {row}" for row in range(SHOWN_WEAK + 3)]
    line = weak_line({"chosen": {"weak": {"weak_queries": weak}}})
    assert line.startswith(
        f"weak answers, {SHOWN_WEAK + 3} of the validation queries (all in ranking.json): 'query 0', "
    )
    assert line.endswith(f"'query {SHOWN_WEAK - 1}', …")
    assert weak_line({"chosen": {"weak": {"weak_queries": weak[:2]}}}).endswith("'query 0', 'query 1'")
    for ranking in ({}, {"chosen": {}}, {"chosen": {"weak": {"queries": 9}}}):
        assert weak_line(ranking) == ""

"""The published file: replaced whole, read again when it is another, refused when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trident.errors import DataError
from trident.rules.published import PublishedRules, RulesReader, published_path, read_published, write_published
from trident.rules.ruleset import PinRule, RuleSet, parse_rules

RULES = RuleSet(pins=(PinRule(queries=("desk",), products=("1",)),))


def test_what_is_written_is_read(tmp_path: Path, disk: Any) -> None:
    path = published_path(tmp_path / "generations")
    made = write_published(path, RULES, "rules.toml")
    assert isinstance(made, PublishedRules)
    assert read_published(path) == made
    assert (made.version, made.source) == (RULES.version, "rules.toml")
    assert disk.synced_after(path.parent)
    every = parse_rules(
        {
            "synonyms": [{"both_ways": ["a", "b"]}, {"word": "c", "finds": ["d"]}],
            "boosts": [{"filter": {"price": {"lt": 5}, "brand": ["Größe"]}, "by": -0.25}],
            "exclusions": [{"products": ["x"]}],
            "redirects": [{"queries": ["q"], "to": "https://example.org/"}],
        },
        "r",
    )
    assert every.faults == ()
    write_published(path, every.rules, "r")
    found = read_published(path)
    assert found is not None
    assert found.rules == every.rules


def test_without_a_file_no_rules_hold(tmp_path: Path) -> None:
    path = published_path(tmp_path)
    assert read_published(path) is None
    reader = RulesReader(path)
    assert reader.news()
    assert not reader.news()
    assert len(reader.read()) == 0


def test_a_reader_sees_each_new_file_once(tmp_path: Path) -> None:
    path = published_path(tmp_path)
    reader = RulesReader(path)
    assert reader.news()
    write_published(path, RULES, "r")
    assert reader.news()
    assert reader.read() == RULES
    assert not reader.news()
    write_published(path, RULES, "r")  # the same, as another file
    assert reader.news()
    path.unlink()
    assert reader.news()
    assert reader.read() == RuleSet()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"rules": {}}', "\ud800"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = published_path(tmp_path)
    write_published(path, RULES, "r")
    path.write_bytes(damage.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"^rules .*rules\.json are damaged: .*; apply them again$"):
        RulesReader(path).read()


def test_rules_of_another_version_are_refused(tmp_path: Path) -> None:
    path = published_path(tmp_path)
    write_published(path, RULES, "r")
    table = json.loads(path.read_text())
    table["rules"]["pins"][0]["products"] = ["2"]
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match=f"the rules must have version {RULES.version}, got "):
        read_published(path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    path = published_path(tmp_path)
    path.mkdir(parents=True)
    with pytest.raises(DataError, match=r"are damaged: .*Is a directory"):
        read_published(path)

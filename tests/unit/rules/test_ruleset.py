"""A file of rules: what it may say, and a line for each fault in its form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trident.errors import DataError
from trident.lexical.analyzer import Analyzer, AnalyzerConfig
from trident.rules import ruleset
from trident.rules.matching import Matching, normalised
from trident.rules.ruleset import BoostRule, ExclusionRule, PinRule, RuleSet, parse_rules, read_rules
from trident.rules.synonyms import Synonyms

WHOLE = """
[[synonyms]]
both_ways = ["couch", "sofa"]

[[synonyms]]
word = "notebook"
finds = ["laptop"]

[[pins]]
queries = ["Office  Chair"]
products = ["B01", "B02"]

[[exclusions]]
products = ["B07"]

[[boosts]]
queries = ["desk"]
match = "words"
filter = { brand = ["Acme"], price = { lt = 500 } }
by = 0.05

[[redirects]]
queries = ["returns"]
to = "/help/returns"
"""


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(WHOLE)
    found = read_rules(path)
    assert found.faults == ()
    assert found.rules.counts() == {"synonyms": 2, "pins": 1, "exclusions": 1, "boosts": 1, "redirects": 1}
    assert len(found.rules) == 6
    assert found.rules.pins == (PinRule(queries=("Office  Chair",), products=("B01", "B02")),)
    assert found.rules.exclusions == (ExclusionRule(products=("B07",)),)
    assert found.rules.boosts[0].filter == {"brand": ["Acme"], "price": {"lt": 500}}


def test_a_version_is_that_of_what_the_rules_say(tmp_path: Path) -> None:
    path, other = tmp_path / "rules.toml", tmp_path / "other.toml"
    path.write_text(WHOLE)
    other.write_text("# another comment\n" + WHOLE.replace("\n[[", "\n\n\n[["))
    version = read_rules(path).rules.version
    assert len(version) == 12
    assert read_rules(other).rules.version == version
    other.write_text(WHOLE.replace("0.05", "0.06"))
    assert read_rules(other).rules.version != version
    assert RuleSet().version != version


FAULTS = [
    ("[[synonyms]]\nboth_ways = ['a', 'b']\nword = 'c'", "a synonym must have either both_ways, or word and finds"),
    ("[[synonyms]]\n", "a synonym must have either both_ways, or word and finds"),
    ("[[synonyms]]\nboth_ways = ['a']", "both_ways must hold 2 to 20,000 texts, got 1"),
    ("[[synonyms]]\nboth_ways = ['a', ' A ']", "both_ways must name each once, got ' A ' twice"),
    ("[[synonyms]]\nword = 'a'\nfinds = []", "finds must hold 1 to 20,000 texts, got 0"),
    ("[[synonyms]]\nword = 'a'\nfinds = ['A']", "finds must be other words than word, got 'a' in both"),
    ("[[pins]]\nqueries = []\nproducts = ['1']", "queries must hold 1 to 20,000 texts, got 0"),
    ("[[pins]]\nqueries = ['q']\nproducts = ['1', '1']", "products must name each once, got '1' twice"),
    ("[[pins]]\nqueries = [' ']\nproducts = ['1']", "each of queries must have 1 to 1,000 characters, got ' '"),
    ("[[pins]]\nproducts = ['1']", "key 'queries' is required"),
    ("[[pins]]\nqueries = ['q']\nproducts = ['1']\nmatch = 'some'", "'match' must be one of 'query', 'words', got"),
    ("[[pins]]\nqueries = ['q']\nprodcts = ['1']", "unknown key 'prodcts' .did you mean 'products'"),
    ("[[pins]]\nqueries = 'q'\nproducts = ['1']", "'queries' must be of type tuple.*, got 'q' of type str"),
    ("[[exclusions]]\nproducts = []", "products must hold 1 to 10,000 texts, got 0"),
    ("[[boosts]]\nfilter = { brand = 'A' }\nby = 0", "by must be -1 to 1 and not 0, a difference of cosines, got 0.0"),
    ("[[boosts]]\nfilter = { brand = 'A' }\nby = nan", "by must be -1 to 1 and not 0, .* got nan"),
    ("[[boosts]]\nfilter = {}\nby = 0.1", "filter must hold a condition such as .*, got an empty table"),
    ("[[boosts]]\nfilter = { day = 2026-11-30 }\nby = 0.1", "filter must be what JSON can hold, got .*2026"),
    ("[[redirects]]\nqueries = ['q']\nto = 'javascript:alert(1)'", "to must be a path or an https address without"),
    ("[[redirects]]\nqueries = ['q']\nto = '//evil.example'", "to must be a path or an https address .*, got '//evil"),
    ("[[redirects]]\nqueries = ['q']\nto = '/a b'", "to must be a path or an https address without blanks"),
    ("[[pinns]]\nqueries = ['q']", "unknown kind of rules 'pinns' .did you mean 'pins'"),
    ("[[nothing]]\nqueries = ['q']", "unknown kind of rules 'nothing' .known: synonyms, pins, exclusions, boosts"),
    ("pins = 'q'", r"pins must be written as \[\[pins\]\], a table each"),
    ("pins = ['q']", "'' must be a table, got 'q'"),
]


@pytest.mark.parametrize(("text", "line"), FAULTS)
def test_what_is_wrong_is_told_in_one_line_and_where(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f"[[pins]]\nqueries = ['good']\nproducts = ['1']\n{text}" if text.startswith("[[pins]]") else text)
    found = read_rules(path)
    assert len(found.faults) == 1
    assert re.search(line, found.faults[0]), found.faults[0]
    assert "rules.toml" in found.faults[0]
    assert "\n" not in found.faults[0]
    if text.startswith("[[pins]]"):
        assert "pins 2 of rules.toml" in found.faults[0]
        assert len(found.rules.pins) == 1


def test_every_fault_of_a_file_is_told() -> None:
    found = parse_rules({"pins": [{}, {"queries": ["q"]}], "boosts": [{"by": 2.0, "filter": {"a": 1}}]}, "r")
    assert [line[-len("(pins 1 of r)") :] for line in found.faults[:2]] == ["(pins 1 of r)", "(pins 2 of r)"]
    assert len(found.faults) == 3


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"products": ["1"]}] * 3
    assert parse_rules({"exclusions": rules}, "r").faults == ()
    monkeypatch.setattr(ruleset, "MOST_RULES", 2)
    assert parse_rules({"exclusions": rules}, "r").faults == ("there must be at most 2 rules, got 3 (r)",)


def test_a_file_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.toml"
    with pytest.raises(DataError, match=r"^rules .*rules\.toml do not exist$"):
        read_rules(path)
    for content, line in ((b"[[pins", "are no TOML file"), (b"\xff", "are no TOML file: 'utf-8' codec")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=line):
            read_rules(path)
    monkeypatch.setattr(ruleset, "FILE_MAX_BYTES", 3)
    path.write_text(WHOLE)
    with pytest.raises(DataError, match=r"must have at most 3 bytes, got \d+"):
        read_rules(path)


def test_queries_are_compared_without_case_width_and_blanks() -> None:
    assert normalised("  \uff2fffice\tCHAIR ") == "office chair"
    for text in (
        '"Office chair"',
        "office, chair!",
        "(office chair)",
        "\u201eoffice\u201d chair\u2026",
        "office chair?",
    ):
        assert normalised(text) == "office chair", text
    assert [normalised(text) for text in ("C++", "2.5 inch", "usb-c", "?", "! ?")] == [
        "c++",
        "2.5 inch",
        "usb-c",
        "?",
        "! ?",
    ]
    assert normalised("Straße") == normalised("STRASSE")


def test_rules_are_found_by_the_whole_query_then_by_words() -> None:
    boosts = [
        BoostRule(filter={"a": 1}, by=0.1, queries=("red desk", "desk"), match="words"),
        BoostRule(filter={"a": 1}, by=0.1),
        BoostRule(filter={"a": 1}, by=0.1, queries=("desk",)),
        BoostRule(filter={"a": 1}, by=0.1, queries=("desk red",), match="words"),
    ]
    matching = Matching(boosts)
    assert matching.of_all == [1]
    assert matching.places("desk") == [2, 0]
    assert matching.places("a red desk") == [0, 3]
    assert matching.places("desks") == []


def test_synonyms_stand_beside_the_words_of_a_query() -> None:
    rules = parse_rules(
        {
            "synonyms": [
                {"both_ways": ["Couch", "sofa", "settee"]},
                {"word": "usb c", "finds": ["usb-c", "type c"]},
                {"word": "settee", "finds": ["bench"]},
            ]
        },
        "r",
    ).rules.synonyms
    synonyms = Synonyms(rules)
    assert synonyms.expanded(["red", "sofa"]) == ("couch", "settee")
    assert synonyms.expanded(["usb", "c", "hub"]) == ("usb-c", "type c")
    assert synonyms.expanded(["type", "c"]) == ()
    assert synonyms.expanded(["settee"]) == ("couch", "sofa", "bench")
    assert synonyms.expanded([]) == ()
    assert Synonyms([]).expanded(["sofa"]) == ()


def test_a_synonym_speaks_of_the_forms_of_its_words() -> None:
    both = parse_rules({"synonyms": [{"both_ways": ["office chair", "desk seats"]}]}, "r").rules.synonyms
    form = Analyzer(AnalyzerConfig()).form
    assert Synonyms(both, form).expanded(["office", "chairs"]) == ("desk seats",)
    assert Synonyms(both, form).expanded(["desk", "seat"]) == ("office chair",)
    marked = parse_rules(
        {"synonyms": [{"both_ways": ["canape", "t-shirt"]}]}, "r"
    ).rules.synonyms  # as the lexical leg folds and parts words
    assert Synonyms(marked, form).expanded(["canapés"]) == ("t-shirt",)
    assert Synonyms(marked, form).expanded(["t-shirts", "&"]) == ("canape",)
    assert Synonyms(both).expanded(["office", "chairs"]) == ()

"""What ``trident search`` shows: attributes beside the products, counts below them; filters from both options."""

from __future__ import annotations

import pytest

from trident.commands.output import print_table
from trident.commands.search import _both, _facet_table, _hit_table, _read_object
from trident.errors import ConfigError
from trident_client import Hit, SearchResult

HITS = (
    Hit("B01", 0.5, "Lamp", {"brand": "Größe", "price": 7, "ok": True, "tags": ["a", "b"]}),
    Hit("B02", 0.25, "[red] lamp", {"brand": None, "price": 2.5, "ok": False, "tags": None}),
)
FACETS = {
    "brand": {"values": [{"value": "Größe", "count": 1200}, {"value": True, "count": 1}], "different": 2, "missing": 3},
    "price": {
        "ranges": [{"lt": 5, "count": 1}, {"gte": 5, "lt": 7.5, "count": 0}, {"gte": 7.5, "count": 4}],
        "missing": 0,
    },
}


def test_attributes_stand_beside_the_products(capsys: pytest.CaptureFixture[str]) -> None:
    result = SearchResult("lamp", "g", 1, HITS, {"facets": FACETS, "total": 9})
    print_table(_hit_table("lamp", result, ["brand", "price", "ok", "tags"]))
    shown = capsys.readouterr().out
    assert '"lamp"' in shown
    assert "Größe" in shown
    assert "true" in shown
    assert "a, b" in shown
    assert "None" not in shown
    assert result.total == 9
    assert result.facets == FACETS


def test_counts_are_tables(capsys: pytest.CaptureFixture[str]) -> None:
    for name, counts in FACETS.items():
        print_table(_facet_table(name, counts))
    shown = capsys.readouterr().out
    for part in ("brand", "1,200", "true", "(none)", "below 5", "5 to 7.5", "from 7.5"):
        assert part in shown


def test_both_filters_hold() -> None:
    assert _both({"brand": "HP"}, {"price": {"lt": 5.0}}) == {"all": [{"brand": "HP"}, {"price": {"lt": 5.0}}]}


@pytest.mark.parametrize("text", ["{", "[1]", "brand=HP", "[" * 5000])
def test_a_filter_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--filter must be one JSON object such as '\{\}', got '"):
        _read_object(text, "--filter", "{}")


def test_probabilities_stand_beside_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    hits = (Hit("B01", 0.5, "Lamp", {}, 0.834), Hit("B02", 0.25, "Lamp", {}, None))
    print_table(_hit_table("lamp", SearchResult("lamp", "g", 1, hits), []))
    shown = capsys.readouterr().out
    assert "relevant" in shown
    assert "83%" in shown

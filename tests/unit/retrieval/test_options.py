"""The options of a search: one JSON object a row; its keys are the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from trident.errors import DataError
from trident.retrieval.options import NO_OPTIONS, RankingKnobs, SearchOptions, read_options
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_knobs


@dataclass(frozen=True, kw_only=True)
class Tomorrow:
    """Keys as later generations may have them."""

    filter: str | None = None
    offset: int = 0
    facets: tuple[str, ...] = ()


def texts(*values: object) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.object_)  # (B, 1)


def test_rows_without_options_take_none() -> None:
    assert read_knobs(KnobTensors(options=texts(b"{}", b" { }\n", "{}")), 3) == [SearchKnobs()] * 3
    knobs = read_knobs(KnobTensors(k=np.array([[3], [4]]), options=texts(b"{}", b"{}")), 2)
    assert knobs == [SearchKnobs(k=3), SearchKnobs(k=4)]


def test_keys_are_read_into_the_class_that_has_them() -> None:
    found = read_options(texts('{"offset": 20, "filter": "Größe < 40"}'.encode(), b'{"facets": ["brand"]}'), Tomorrow)
    assert found == [Tomorrow(offset=20, filter="Größe < 40"), Tomorrow(facets=("brand",))]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b'{"sequence": 1}', r"^options has no key 'sequence' in this generation, it knows filter, .*: leave the key "),
        (
            b'{"": 1}',
            r"^options has no key '' in this generation, it knows filter, .* promote a generation that knows it$",
        ),
        (b"", r"^options must be one JSON object such as \{\}, got '' \(Expecting value"),
        (b"null", r"^options must be one JSON object such as \{\}, got null$"),
        (b"[1, 2]", r"^options must be one JSON object such as \{\}, got \[1, 2\]$"),
        (b'"{}"', r"^options must be one JSON object such as \{\}, got "),
        (b"{'a': 1}", r"^options must be one JSON object such as \{\}, got \"\{'a': 1\}\" \(Expecting property name"),
        (b'{"a": NaN}', r"got '\{\"a\": NaN\}' \(NaN is no JSON\)$"),
        (b'{"a": 1, "a": 2}', r"\(key 'a' stands there twice\)$"),
        (b"{} {}", r"\(Extra data"),
        (rb'{"like": "\ud83d"}', r"^options must be UTF-8, got half a character: '\\ud83d'$"),
        (b"\xff{}", r"^options must be one JSON object such as \{\}, got .* \('utf-8' codec can't decode"),
        (b"[" * 5000, r"^options must be one JSON object, got one that is nested too deeply$"),
        (b" " * 100_001, r"^options must have at most 100,000 bytes, got 100,001$"),
        (b'{"min_probability": -0.1}', r"^'min_probability' must be 0 to 1, got -0\.1 \(options\)$"),
        (b'{"min_probability": 1.01}', r"^'min_probability' must be 0 to 1, got 1\.01 \(options\)$"),
        (b'{"rerank": -1}', r"^'rerank' must be 0 to 200, got -1 \(options\)$"),
        (b'{"rerank": 201}', r"^'rerank' must be 0 to 200, got 201 \(options\)$"),
        (b'{"rerank": true}', r"^'rerank' must be of type int, got True of type bool"),
        (b'{"rerank_budget_ms": 0}', r"^'rerank_budget_ms' must be above 0 milliseconds, got 0\.0 \(options\)$"),
        (b'{"rerank_budget_ms": 1e999}', r"^'rerank_budget_ms' must be above 0 milliseconds, got inf \(options\)$"),
        (b'{"mode": "sparse"}', r"'mode' must be one of .*hybrid.*got 'sparse'"),
        (b'{"mode": 1}', r"'mode' must be .*got 1"),
        (b'{"explain": 1}', r"'explain' must be of type bool, got 1 of type int"),
        (b'{"timings": "yes"}', r"^'timings' must be of type bool, got 'yes' of type str"),
        (b'{"speling": false}', r"options has no key 'speling' in this generation \(did you mean 'spelling'\?\)"),
    ],
)
def test_options_that_are_refused_today(value: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_knobs(KnobTensors(options=texts(b"{}", value)), 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            b'{"filtr": "a"}',
            r"^options has no key 'filtr' in this generation \(did you mean 'filter'\?\), it knows filter, offset",
        ),
        (b'{"offset": "20"}', r"^'offset' must be of type int, got '20' of type str \(options\)$"),
        (b'{"offset": true}', r"^'offset' must be of type int, got True of type bool \(options\)$"),
        (b'{"filter": 3}', r"^'filter' must be of type str, got 3 of type int \(options\)$"),
        (b'{"facets": "brand"}', r"^'facets' must be of type tuple\[str, \.\.\.\], got 'brand' of type str"),
    ],
)
def test_options_that_are_refused_tomorrow(value: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_options(texts(value), Tomorrow)


def test_no_key_says_nothing() -> None:
    assert read_options(texts(b"{}"), SearchOptions) == [NO_OPTIONS]
    assert {name for name, value in vars(NO_OPTIONS).items() if value} == {"rules", "spelling"}


@pytest.mark.parametrize("probability", [0, 0.5, 1])
def test_a_smallest_probability_is_no_page(probability: float) -> None:
    """It holds over live catalogues too, and costs no page."""
    (knob,) = read_knobs(KnobTensors(options=texts(f'{{"min_probability": {probability}}}')), 1)
    assert knob == SearchKnobs(min_probability=probability)


def test_how_long_it_took_is_told_to_the_request_that_asks() -> None:
    sent = KnobTensors(options=texts(b'{"timings": true}', b'{"timings": false}', b"{}"), request_id="of-the-client")
    assert read_knobs(sent, 3) == [SearchKnobs(timed_for="of-the-client"), SearchKnobs(), SearchKnobs()]


def test_a_second_stage_is_no_page() -> None:
    (knob,) = read_knobs(KnobTensors(options=texts(b'{"rerank": 20, "rerank_budget_ms": 15}')), 1)
    assert knob == SearchKnobs(rerank=20, rerank_budget_ms=15.0)


def test_no_key_is_plain() -> None:
    assert not NO_OPTIONS.narrows
    assert (NO_OPTIONS.mode, NO_OPTIONS.explain, NO_OPTIONS.spelling) == (None, False, True)


def test_how_a_query_is_ranked_is_no_page() -> None:
    values = texts(b'{"mode": "lexical"}', b'{"explain": true, "spelling": false}', b'{"mode": "dense", "offset": 2}')
    found = read_knobs(KnobTensors(options=values), 3)
    assert [knob.page is None for knob in found] == [True, True, False]
    assert [knob.ranking for knob in found] == [
        RankingKnobs(mode="lexical"),
        RankingKnobs(explain=True, spelling=False),
        RankingKnobs(mode="dense"),
    ]

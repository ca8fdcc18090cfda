"""What a request may ask: defaults, borders, and one line for every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from trident.errors import DataError
from trident.search.requests import SearchKnobs, read_knobs, read_sides, read_texts


def texts(*values: object) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.object_)  # (B, 1)


def integers(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.int32)


def numbers(*values: float) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.float32)


def knobs(count: int, **given: np.ndarray) -> list[SearchKnobs]:
    return read_knobs(given.get, count)


def test_texts_are_read_as_they_are() -> None:
    assert read_texts(texts("Größe 茶".encode(), b" red\nsofa ", "sofa")) == ["Größe 茶", " red\nsofa ", "sofa"]


def test_the_longest_text_is_counted_in_bytes() -> None:
    assert read_texts(texts("é".encode() * 5000)) == ["é" * 5000]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", r"^query must not be empty, got ''$"),
        (b" \t\n", r"^query must not be empty, got ' \\t\\n'$"),
        ("\u3000".encode(), r"^query must not be empty, got '\\u3000'$"),  # a space too
        (b"caf\xe9", r"^query must be UTF-8, got b'caf\\xe9' \(unexpected end of data\)$"),
        (b"\xff" * 100, r"^query must be UTF-8, got b'(\\xff){20}' \(invalid start byte\)$"),
        (b"x" * 10_001, r"^query must have at most 10,000 bytes, got 10,001$"),
    ],
)
def test_texts_that_are_no_query(value: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_texts(texts(b"sofa", value))


def test_the_tensor_is_named() -> None:
    with pytest.raises(DataError, match=r"^product must not be empty, got ''$"):
        read_texts(texts(b""), name="product")


def test_sides() -> None:
    assert read_sides(None, 3) == ["query"] * 3
    assert read_sides(texts(b"product", b"query", "product", "query"), 4) == ["product", "query", "product", "query"]


@pytest.mark.parametrize("value", [b"title", b"", b"Query", "title", b"\xff"])
def test_sides_that_are_neither(value: object) -> None:
    with pytest.raises(DataError, match=r"^side must be query or product, got b?'"):
        read_sides(texts(b"query", value), 2)


def test_knobs_that_are_absent_take_their_defaults() -> None:
    assert knobs(2) == [SearchKnobs(10, None, None)] * 2
    assert knobs(2, k=integers(3, 4)) == [SearchKnobs(3), SearchKnobs(4)]
    assert knobs(1, ef=integers(7)) == [SearchKnobs(10, 7)]
    assert knobs(1, min_score=numbers(0.5)) == [SearchKnobs(10, None, 0.5)]


def test_borders_are_inside() -> None:
    found = knobs(2, k=integers(1, 1000), ef=integers(1, 10_000), min_score=numbers(-1, 1))
    assert found == [SearchKnobs(1, 1, -1.0), SearchKnobs(1000, 10_000, 1.0)]


def test_zero_is_a_score() -> None:
    assert knobs(1, min_score=numbers(0))[0].min_score == 0


@pytest.mark.parametrize("k", [0, -1, 1001, 2**31 - 1, -(2**31)])
def test_k_outside_its_range(k: int) -> None:
    with pytest.raises(DataError, match=rf"^k must be 1 to 1000, got {k}$"):
        knobs(2, k=integers(5, k))


@pytest.mark.parametrize("ef", [0, -1, 10_001])
def test_ef_outside_its_range(ef: int) -> None:
    with pytest.raises(DataError, match=rf"^ef must be 1 to 10000, got {ef}$"):
        knobs(2, ef=integers(5, ef))


@pytest.mark.parametrize("score", ["nan", "inf", "-inf", "2.0", "-1.5"])
def test_min_score_outside_its_range(score: str) -> None:
    with pytest.raises(DataError, match=rf"^min_score must be -1 to 1, a cosine, got {score}$"):
        knobs(2, min_score=numbers(0.5, float(score)))

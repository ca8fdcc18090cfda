"""What a request may ask: defaults, borders, and one line for every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from trident.errors import DataError
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_knobs, read_sides, read_texts


def texts(*values: object) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.object_)  # (B, 1)


def integers(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.int64)


def numbers(*values: float) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.float32)


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
    assert read_knobs(KnobTensors(), 2) == [SearchKnobs(10, None, None)] * 2
    assert read_knobs(KnobTensors(k=integers(3, 4)), 2) == [SearchKnobs(3), SearchKnobs(4)]
    assert read_knobs(KnobTensors(ef=integers(7)), 1) == [SearchKnobs(10, 7)]
    assert read_knobs(KnobTensors(min_score=numbers(0.5)), 1) == [SearchKnobs(10, None, 0.5)]


def test_borders_are_inside() -> None:
    found = read_knobs(KnobTensors(integers(1, 1000), integers(1, 10_000), numbers(-1, 1)), 2)
    assert found == [SearchKnobs(1, 1, -1.0), SearchKnobs(1000, 10_000, 1.0)]


def test_zero_is_a_score() -> None:
    assert read_knobs(KnobTensors(min_score=numbers(0)), 1)[0].min_score == 0


@pytest.mark.parametrize("k", [0, -1, 1001, 2**31 - 1, -(2**31), 2**32 + 3, 2**63 - 1])
def test_k_outside_its_range(k: int) -> None:
    with pytest.raises(DataError, match=rf"^k must be 1 to 1000, got {k}$"):
        read_knobs(KnobTensors(k=integers(5, k)), 2)


@pytest.mark.parametrize("ef", [0, -1, 10_001, 2**32 + 3])
def test_ef_outside_its_range(ef: int) -> None:
    with pytest.raises(DataError, match=rf"^ef must be 1 to 10000, got {ef}$"):
        read_knobs(KnobTensors(ef=integers(5, ef)), 2)


@pytest.mark.parametrize("score", ["nan", "inf", "-inf", "2.0", "-1.5"])
def test_min_score_outside_its_range(score: str) -> None:
    with pytest.raises(DataError, match=rf"^min_score must be -1 to 1, a cosine, got {score}$"):
        read_knobs(KnobTensors(min_score=numbers(0.5, float(score))), 2)

"""Tensors of a request for suggestions, in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trident.errors import DataError
from trident.lexical.suggestions import SUGGESTIONS_FILE, Suggested, Suggestions, write_suggestions
from trident.search.suggesting import read_prefixes, suggest


def prefixes(*values: bytes) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.object_)


def test_what_is_asked_is_read() -> None:
    assert read_prefixes(prefixes(b"", "Grö".encode()), None) == [("", 10), ("Grö", 10)]
    assert read_prefixes(prefixes(b"a", b"b"), np.array([[1], [100]])) == [("a", 1), ("b", 100)]


@pytest.mark.parametrize(
    ("value", "k", "line"),
    [
        (b"\xff", 1, r"^prefix must be UTF-8, got b'\\xff'"),
        (b"x" * 10_001, 1, "^prefix must have at most 10,000 bytes, got 10,001$"),
        (b"a", 0, "^k must be 1 to 100 suggestions, got 0$"),
        (b"a", 101, "^k must be 1 to 100 suggestions, got 101$"),
    ],
)
def test_what_is_wrong_is_refused(value: bytes, k: int, line: str) -> None:
    with pytest.raises(DataError, match=line):
        read_prefixes(prefixes(value), np.array([[k]]))


def test_answers_stand_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / SUGGESTIONS_FILE
    write_suggestions(path, [Suggested("usb hub", "query", 3), Suggested("usb cäble", "phrase", 2)])
    found = suggest(Suggestions(path), [("usb", 3), ("x", 1), ("USB H", 2)])
    assert found["suggestion"].tolist() == [
        [b"usb hub", "usb cäble".encode(), b""],
        [b"", b"", b""],
        [b"usb hub", b"", b""],
    ]
    assert found["source"].tolist() == [[b"query", b"phrase", b""], [b"", b"", b""], [b"query", b"", b""]]
    assert found["count"].tolist() == [[2], [0], [1]]
    assert found["count"].dtype == np.int32

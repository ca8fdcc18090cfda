"""Durations and sizes as the report page writes them."""

from __future__ import annotations

import pytest

from trident_train.report.page import duration_text, size_text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.44, "2.4 s"), (185, "3 min 5 s"), (4320, "1 h 12 min"), (59.99, "60.0 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(999, "999 bytes"), (4_700_000, "4.7 MB"), (2.5e9, "2.5 GB")])
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text

"""What ``trident catalogue`` refuses before anything is sent or promoted."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from trident.commands import catalogue
from trident.errors import DataError, LiveError
from trident.generation.generation import Generation


def test_a_compaction_is_not_promoted_over_what_another_promotion_brought_meanwhile(generation: Generation) -> None:
    """It was looked at who serves; then another promotion ended; then this one took the lock."""
    asked: list[str] = []

    def gate(candidate: Generation, serving: Generation) -> str | None:
        asked.append(serving.id)
        return None

    words = rf"generation made was made of before and is not promoted: {generation.id} serves meanwhile; compact again"
    with pytest.raises(LiveError, match=words):
        catalogue._only_over(gate, "before", "made")(generation, generation)
    assert asked == []
    assert catalogue._only_over(gate, generation.id, "made")(generation, generation) is None
    assert asked == [generation.id]


def test_a_file_of_ids_that_cannot_be_read_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--file .*nowhere must be a file with an id a line, got none$"):
        catalogue.delete(file=tmp_path / "nowhere")
    (tmp_path / "latin").write_bytes(b"K\xfche\n")
    with pytest.raises(DataError, match=r"--file .*latin must be text in UTF-8, got other bytes"):
        catalogue.delete(file=tmp_path / "latin")


def test_standard_input_that_is_no_text_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(b'{"product_id": "K\xfche", "product_title": "a"}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content, encoding="utf-8"))
    with pytest.raises(DataError, match=r"standard input must be text in UTF-8, got other bytes \("):
        list(catalogue._json_rows(title=True))

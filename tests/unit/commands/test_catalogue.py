"""What ``trident catalogue`` refuses before anything is sent or promoted."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trident.commands import catalogue
from trident.errors import DataError, LiveError
from trident.generation.generation import Generation
from trident_client import InvalidRequestError
from trident_client.catalogue import Written


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


class Refusing:
    """Takes the first thousand."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def write(self, part: list[dict[str, Any]]) -> Written:
        if self.taken:
            raise InvalidRequestError("operation 200 of 500, product 'p': price is a number")
        self.taken.append(len(part))
        return Written(1007, 999, unknown=("p1",))


@pytest.mark.parametrize("rows", [1500, 1200])
def test_what_fails_midway_says_what_was_written(rows: int) -> None:
    """Whether the server refuses a row or it cannot be read."""

    def read() -> Iterator[dict[str, Any]]:
        yield from ({"op": "update", "id": f"p{row}", "attributes": {"price": "x"}} for row in range(rows))
        if rows == 1200:
            raise DataError("line 1201 of standard input must be a JSON object")

    before = "after 1,000 operations were answered, 999 of them done, the catalogue at number 1,007: "
    said = "operation 1,200, product" if rows == 1500 else "line 1201 of standard input"
    with pytest.raises((InvalidRequestError, DataError), match=f"^{before}{said}"):
        catalogue._write(Refusing(), read(), json=False)


def test_standard_input_that_is_no_text_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(b'{"product_id": "K\xfche", "product_title": "a"}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content, encoding="utf-8"))
    with pytest.raises(DataError, match=r"standard input must be text in UTF-8, got other bytes \("):
        list(catalogue._json_rows(title=True))

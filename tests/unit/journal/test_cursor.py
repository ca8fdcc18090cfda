"""Reading behind a writer: in pieces, over segments, up to a number in the middle of a group."""

from __future__ import annotations

import random

import pytest

from trident.journal import cursor as cursor_module
from trident.journal.cursor import LogCursor
from trident.journal.log import Log


@pytest.mark.parametrize("chunk", [8, 64, 1 << 20])
@pytest.mark.parametrize("segment_bytes", [300, 1 << 20])
def test_whatever_the_steps_every_record_comes_once_and_in_order(tmp_path, monkeypatch, chunk, segment_bytes):
    monkeypatch.setattr(cursor_module, "CHUNK", chunk)
    draw = random.Random(chunk + segment_bytes)
    log = Log.open(tmp_path / "log", segment_bytes=segment_bytes)
    expected: list[tuple[int, bytes]] = []
    cursor, found = LogCursor(tmp_path / "log", 0), []
    for _ in range(40):
        group = [b'{"n":%d}' % draw.randrange(10 ** draw.randint(1, 40)) for _ in range(draw.randint(1, 7))]
        log.append(group)
        expected += list(enumerate(group, start=len(expected) + 1))
        found += list(cursor.advance(draw.randint(len(found), len(expected))))
    found += list(cursor.advance(len(expected)))
    assert found == expected
    middle = draw.randrange(len(expected))
    assert list(LogCursor(tmp_path / "log", middle).advance(len(expected))) == expected[middle:]

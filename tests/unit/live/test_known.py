"""How far an export goes, and what it takes over of the log: numbers, versions, deleted products."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from trident.errors import LogError
from trident.generation.generation import generation_id
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.live.known import Knowledge, Known, known_at, position_of, save_known
from trident.live.operations import Product, Tombstone, encode_record
from trident.live.preparing import recover


@pytest.fixture
def folder(tmp_path) -> LiveFolder:
    made = LiveFolder.of(tmp_path)
    made.make()
    log = Log.open(made.log, segment_bytes=1)
    for product, entry in (
        ("a", Product(title="a", attributes={}, version=3)),
        ("b", Product(title="b", attributes={})),
        ("a", Tombstone(version=4)),
        ("c", Product(title="c", attributes={})),
    ):
        log.append([encode_record(product, entry)])
    log.close()
    return made


def test_an_export_beside_a_log_without_holds_is_refused(folder, tmp_path):
    with pytest.raises(
        LogError, match=r"goes to number 4: say with --holds N at which number the catalogue's file was"
    ):
        position_of(tmp_path, None)


@pytest.mark.parametrize("holds", [5, -1])
def test_a_number_that_the_log_does_not_reach_is_refused(folder, tmp_path, holds):
    with pytest.raises(LogError, match=rf"--holds must be 0 to 4, what .* reaches, got {holds}"):
        position_of(tmp_path, holds)


def test_a_number_that_the_log_does_not_reach_any_more_is_refused(folder, tmp_path):
    for path in sorted(folder.log.glob("*.log"))[:2]:
        path.unlink()
    with pytest.raises(LogError, match=r"--holds must be 2 to 4, what .* reaches, got 1"):
        position_of(tmp_path, 1)


def test_without_a_log_nothing_is_held(tmp_path):
    assert position_of(tmp_path, None) is None
    with pytest.raises(LogError, match=r"--holds must be left out where there is no log, got 7"):
        position_of(tmp_path, 7)


def test_versions_and_deleted_products_are_known_at_a_number(folder, tmp_path):
    position = position_of(tmp_path, 3)
    assert position is not None
    known = known_at(tmp_path, position)
    assert known == Knowledge({"a": Known(3, 4, False), "b": Known(2, None, True)})
    save_known(known, tmp_path / "known.jsonl")
    assert (tmp_path / "known.jsonl").read_text().splitlines()[0] == (
        '{"id": "a", "number": 3, "version": 4, "is_there": false}'
    )


def test_the_number_is_a_part_of_the_id(folder, tmp_path):
    """An upsert and its delete give the same catalogue, at another number."""
    ids = set()
    for holds in (1, 3):
        place = json.dumps(asdict(position_of(tmp_path, holds)), sort_keys=True)
        ids.add(generation_id({"catalogue": "the same", "holds": place}))
    assert len(ids) == 2


def test_what_is_known_is_forgotten_after_a_while_and_the_number_stays(tmp_path):
    made, day = LiveFolder.of(tmp_path), 86_400
    made.make()
    log = Log.open(made.log)
    entries = (
        ("old", Tombstone(version=9, at=1_000)),
        ("undated", Tombstone(version=2)),
        ("older than it looks", Product(title="a", attributes={}, version=1, at=2_000)),
        ("older than it looks", Product(title="b", attributes={}, version=2, at=40 * day)),
        ("new", Product(title="c", attributes={}, at=40 * day)),
    )
    log.append([encode_record(product, entry) for product, entry in entries])
    log.close()
    position = position_of(tmp_path, 5)
    assert position is not None
    assert known_at(tmp_path, position, days=50).forgotten == 0
    known = known_at(tmp_path, position)
    assert known.forgotten == 1
    assert known.products == {
        "undated": Known(2, 2, False, 40 * day),
        "older than it looks": Known(4, 2, True, 40 * day),
        "new": Known(5, None, True, 40 * day),
    }
    save_known(known, tmp_path / "known.jsonl")
    assert (tmp_path / "known.jsonl").read_text().splitlines()[0] == '{"forgotten": 1}'


def test_a_generation_that_was_exported_without_the_log_after_it_began_is_refused(tmp_path):
    folder = LiveFolder.of(tmp_path)
    for name in ("before", "later"):
        (tmp_path / name).mkdir()
    (tmp_path / "before" / "manifest.json").touch()
    assert recover(folder) == 0
    assert position_of(tmp_path, None) == position_of(tmp_path, 0), "the log is there and has nothing yet"
    log = Log.open(folder.log)
    log.append([encode_record("a", Product(title="a", attributes={}))])
    log.close()
    (tmp_path / "later" / "manifest.json").touch()
    assert recover(folder) == 1
    assert folder.start_of(None, "before") == 0
    with pytest.raises(LogError, match=r"generation later is not of the log .*: it was exported without it, after the"):
        folder.start_of(None, "later")

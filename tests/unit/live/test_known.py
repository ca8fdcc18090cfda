"""How far an export goes, and what it takes over of the log: numbers, versions, deleted products."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from trident.errors import LogError
from trident.generation.generation import generation_id
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.live.known import Known, known_at, position_of, save_known
from trident.live.operations import Product, Tombstone, encode_record


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
    assert known == {"a": Known(3, 4, False), "b": Known(2, None, True)}
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

"""Whose numbers a generation's are: another log's, an epoch's that a restored backup left, or this one's."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trident.errors import FullError, LiveError, LogError
from trident.generation.holds import Position
from trident.journal.backup import back_up
from trident.journal.cursor import LogCursor
from trident.journal.disk import File, RealDisk
from trident.journal.folder import LiveFolder
from trident.journal.frames import GROUP, encode
from trident.journal.log import Log
from trident.journal.published import Published


def begin(path: Path, records: int = 0, **options) -> tuple[LiveFolder, Log]:
    folder = LiveFolder(path)
    folder.make()
    log = Log.open(folder.log, **options)
    for number in range(records):
        log.append([b'{"id":"%d"}' % number])
    Published(folder.published).write(log.last, log.lineage)
    return folder, log


def test_a_generation_of_this_log_begins_at_its_number(tmp_path):
    folder, log = begin(tmp_path, 5)
    assert folder.start_of(log.lineage.position(3), "g") == 3
    assert folder.start_of(None, "g") == 0
    assert folder.last() == 5


def test_another_logs_number_is_refused(tmp_path):
    folder, log = begin(tmp_path / "one", 5)
    _, other = begin(tmp_path / "two", 5)
    with pytest.raises(
        LogError, match=r"generation g is not of the log .*: it goes as far as number 3 of log \w+, and"
    ):
        folder.start_of(other.lineage.position(3), "g")
    with pytest.raises(LogError, match=r"epoch 7, which this log never had"):
        folder.start_of(replace(log.lineage.position(3), epoch=7), "g")


def test_a_number_that_the_log_does_not_reach_is_refused(tmp_path):
    folder, log = begin(tmp_path, 5)
    with pytest.raises(LogError, match=r"it goes as far as number 6, and the log ends at 5; export it again"):
        folder.start_of(log.lineage.position(6), "g")


def test_a_generation_with_a_number_and_no_log_is_refused(tmp_path):
    folder = LiveFolder(tmp_path)
    with pytest.raises(LogError, match=r"and there is none here"):
        folder.start_of(Position(log="a", epoch=1, branch="b", number=3), "g")


def test_operations_after_a_restore_are_not_skipped_in_silence(tmp_path):
    """A backup at 900, operations to 950, a restore, and a generation that was made at 950 before it."""
    folder, log = begin(tmp_path / "live", 5)
    assert back_up(folder, tmp_path / "backup") == 5
    log.append([b'{"id":"lost"}'])
    lost = log.lineage.position(6)
    log.close()
    restored = LiveFolder(tmp_path / "restored")
    restored.make()
    (tmp_path / "backup").rename(restored.log)
    after = Log.open(restored.log, promised=Position(log="", epoch=0, branch=lost.branch, number=6))
    assert after.last == 5
    assert after.append([b'{"id":"other"}', b'{"id":"another"}']) == 7
    assert after.lineage.epochs[-1].number == 2
    assert restored.start_of(replace(lost, number=5), "g") == 5
    with pytest.raises(LogError, match=r"number 6 of epoch 1, which this log left at 5 when a backup was restored"):
        restored.start_of(lost, "g")
    after.close()
    again = Log.open(restored.log)
    assert again.lineage == after.lineage, "a restart is no other restoration"
    assert [record for _, record in LogCursor(restored.log, 5).advance(7)] == [b'{"id":"other"}', b'{"id":"another"}']


def test_two_restorations_of_one_backup_are_two_epochs(tmp_path):
    folder, _ = begin(tmp_path / "live", 3)
    made = []
    for name in ("one", "two"):
        back_up(folder, tmp_path / name)
        log = Log.open(tmp_path / name)
        log.append([b'{"id":"x"}'])
        made.append(log.lineage)
    assert made[0].fault(made[1].position(4)) is not None


def test_a_backup_holds_what_was_published_and_no_more(tmp_path):
    folder, log = begin(tmp_path / "live", 5, segment_bytes=100)
    log.append([b'{"id":"in flight"}'])
    assert back_up(folder, tmp_path / "backup") == 5
    assert Log.open(tmp_path / "backup").last == 5
    with pytest.raises(LiveError, match=r"backup must not exist yet"):
        back_up(folder, tmp_path / "backup")
    with pytest.raises(LiveError, match=r"has no log: start trident serve --live once"):
        back_up(LiveFolder(tmp_path / "nothing"), tmp_path / "other")


def test_a_backup_of_a_log_with_a_hole_is_none(tmp_path):
    folder, _ = begin(tmp_path / "live", 9, segment_bytes=1)
    path = sorted(folder.log.glob("*.log"))[4]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogError, match=r"must go to number 9, got 4: what follows is damaged; .*backup is no backup"):
        back_up(folder, tmp_path / "backup")


def test_a_backup_goes_to_the_number_that_a_log_begins_behind(tmp_path):
    """All before it was cut off: nothing on the disk needs it any more."""
    folder, log = begin(tmp_path / "live", 5)
    log._roll()
    sorted(folder.log.glob("*.log"))[0].unlink()
    assert back_up(folder, tmp_path / "backup") == 5
    assert Log.open(tmp_path / "backup").last == 5


def test_damage_with_a_whole_group_behind_it_is_refused_with_its_place(tmp_path):
    folder, log = begin(tmp_path, 3)
    log.close()
    (path,) = folder.log.glob("*.log")
    data = bytearray(path.read_bytes())
    place = data.index(b'{"id":"1"}')
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogError, match=r"\.log is damaged at byte [\d,]+: there is a whole group at byte [\d,]+"):
        Log.open(folder.log)


def test_a_segment_that_is_missing_is_refused(tmp_path):
    folder, log = begin(tmp_path, 9, segment_bytes=1)
    log.close()
    paths = sorted(folder.log.glob("*.log"))
    paths[4].unlink()
    with pytest.raises(LogError, match=r"is damaged: number 5 must follow, 0+6-000001\.log begins with 6"):
        Log.open(folder.log)


class FullDisk(RealDisk):
    """A disk on which half a header finds room."""

    def open(self, path: Path, *, create: bool = False) -> File:
        if create:
            path.write_bytes(b"TLOG")
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().open(path)


def test_a_segment_that_was_begun_on_a_full_disk_is_no_damage(tmp_path):
    """What frees space, compaction and retention, asks which log it is."""
    folder, log = begin(tmp_path, 3, segment_bytes=1)
    log.disk = FullDisk()
    with pytest.raises(FullError, match=r"cannot grow \(No space left on device\); free some space"):
        log.append([b'{"id":"4"}'])
    assert sorted(folder.log.glob("*.log"))[-1].read_bytes() == b"TLOG"
    assert folder.lineage() == log.lineage
    assert (folder.start_of(log.lineage.position(2), "g"), folder.last()) == (2, 3)
    assert [number for number, _ in LogCursor(folder.log, 0).advance(3)] == [1, 2, 3]
    log.disk = RealDisk()
    assert log.append([b'{"id":"4"}']) == 4
    other = LiveFolder(tmp_path / "other")
    other.make()
    with pytest.raises(FullError, match="cannot grow"):
        Log.open(other.log, disk=FullDisk())
    assert other.lineage() is None


def test_a_segment_of_a_later_format_is_refused(tmp_path, monkeypatch):
    folder, log = begin(tmp_path, 1)
    log.close()
    (path,) = folder.log.glob("*.log")
    monkeypatch.setattr("trident.journal.frames.VERSION", 9)
    with path.open("ab") as file:
        file.write(encode(GROUP, 2, [b"{}"]))
    with pytest.raises(LogError, match=r"has format 9, this Trident reads 1: use a later Trident"):
        Log.open(folder.log)


def test_a_log_that_was_cut_off_before_a_place_says_so(tmp_path):
    folder, log = begin(tmp_path, 9, segment_bytes=1)
    log.close()
    sorted(folder.log.glob("*.log"))[0].unlink()
    with pytest.raises(LogError, match=r"must reach back to number 1, got 2 as its first: it is gone from there"):
        list(LogCursor(folder.log, 0).advance(9))
    assert [number for number, _ in LogCursor(folder.log, 1).advance(9)] == list(range(2, 10))


def test_one_writer_a_folder(tmp_path):
    folder, _ = begin(tmp_path)
    with folder.writing(), pytest.raises(LogError, match=r"another server writes to .*: stop it"), folder.writing():
        pass
    with folder.writing():
        pass


def test_writes_wait_for_a_promotion_and_no_longer_than_their_bound(tmp_path):
    folder, _ = begin(tmp_path)
    with (
        folder.held(shared=False, wait_s=0),
        pytest.raises(LiveError, match=r"nothing was written: a promotion holds writes off for 0.01 s; try again"),
        folder.held(shared=True, wait_s=0.01),
    ):
        pass
    with folder.held(shared=True, wait_s=0), folder.held(shared=True, wait_s=0):
        pass


def test_the_write_key_outlives_restarts_and_is_its_owners(tmp_path, monkeypatch):
    folder, _ = begin(tmp_path)
    key = folder.make_key()
    assert folder.make_key() == key
    assert folder.key_path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("TRIDENT_WRITE_KEY", "of the variable")
    assert folder.key() == "of the variable"
    assert folder.key(folder.key_path) == key
    with pytest.raises(LiveError, match=r"the write key .*nowhere cannot be read \(No such file or directory\)"):
        folder.key(tmp_path / "nowhere")


def test_what_a_power_cut_left_of_the_published_number_says_nothing(tmp_path):
    folder, log = begin(tmp_path, 2)
    published = Published(folder.published)
    assert published.promised() == Position(log="", epoch=0, branch=log.lineage.epochs[-1].branch, number=2)
    folder.published.write_bytes(b"\1" * 24)
    assert Published(folder.published).promised() is None


class KilledError(Exception):
    """The writer's process has ended."""


class Stores:
    """Words of which so many more can be stored."""

    def __init__(self, words: Any, left: int) -> None:
        self.words, self.left = words, left

    def __setitem__(self, place: int, value: int) -> None:
        if not self.left:
            raise KilledError
        self.left -= 1
        self.words[place] = value


@pytest.mark.parametrize("stores", range(6))
def test_a_writer_that_stands_still_or_ends_between_two_words_hides_no_number(tmp_path, stores):
    folder, log = begin(tmp_path, 2)
    branch = log.lineage.epochs[-1].branch
    published = Published(folder.published)
    published._words = Stores(published._words, stores)
    with pytest.raises(KilledError):
        published.write(3, log.lineage)
    assert Published(folder.published).read() in ((2, branch), (3, branch))

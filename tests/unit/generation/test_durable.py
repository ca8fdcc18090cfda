"""Nothing is given the name that makes it count before all of it is on the disk, and then its folder is synced too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trident.generation.durable import make_folder, put_in_place, sync_folder
from trident.generation.serials import next_serial
from trident.generation.staging import staged_folder, write_text
from trident.generation.state import HistoryEvent, ServingFolder


class Disk:
    """Records what a program asks of the disk, and does it.

    ``events`` are ("sync", path) and ("rename", from, to), in order. A path that was renamed is known by both names.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, ...]] = []
        self._synced: set[tuple[int, int]] = set()
        fsync, self.unsynced = os.fsync, list[str]()

        def sync(descriptor: int) -> None:
            fsync(descriptor)
            found = os.fstat(descriptor)
            self._synced.add((found.st_dev, found.st_ino))
            self.events.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

        monkeypatch.setattr(os, "fsync", sync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._renaming(getattr(os, name)))

    def _renaming(self, rename: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def renamed(source: str, target: str) -> None:
            if not Path(target).name.startswith(".") or Path(target).is_file():
                self.unsynced += [str(path) for path in (Path(source), *Path(source).rglob("*")) if not self._has(path)]
            rename(source, target)
            self.events.append(("rename", str(source), str(target)))

        return renamed

    def _has(self, path: Path) -> bool:
        found = path.lstat()
        return path.is_symlink() or (found.st_dev, found.st_ino) in self._synced

    def synced_after(self, folder: Path) -> bool:
        """Return whether a folder was synced after the last rename."""
        last = max(number for number, event in enumerate(self.events) if event[0] == "rename")
        return ("sync", str(folder)) in self.events[last:]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def fill(folder: Path) -> None:
    (folder / "models" / "1").mkdir(parents=True)
    (folder / "models" / "1" / "graph").write_bytes(b"x" * 100_000)
    (folder / "models" / "link").symlink_to(folder / "models" / "1" / "graph")
    (folder / "empty").mkdir()
    (folder / "manifest.json").write_text("{}")


def test_a_folder_is_on_the_disk_before_it_counts(tmp_path: Path, disk: Disk) -> None:
    with staged_folder(tmp_path / "out" / "generation") as staging:
        fill(staging)
    assert not disk.unsynced
    assert disk.synced_after(tmp_path / "out")
    assert ("sync", str(tmp_path)) in disk.events, "the folder of generations was made here"


def test_a_folder_that_replaces_another_is_on_the_disk_before(tmp_path: Path, disk: Disk) -> None:
    for _ in range(2):
        with staged_folder(tmp_path / "run", overwrite=True) as staging:
            fill(staging)
    assert not disk.unsynced
    assert disk.synced_after(tmp_path)


def test_a_folder_that_is_made_anew_at_every_start_does_not_wait(tmp_path: Path, disk: Disk) -> None:
    with staged_folder(tmp_path / "models", lasting=False) as staging:
        fill(staging)
    assert str(tmp_path / "models") in disk.events[-1][2]
    assert disk.unsynced


def test_what_is_put_in_place_is_on_the_disk_before(tmp_path: Path, disk: Disk) -> None:
    made = tmp_path / ".staging"
    made.mkdir()
    fill(made)
    put_in_place(made, tmp_path / "generation")
    assert not disk.unsynced
    assert disk.synced_after(tmp_path)
    assert (tmp_path / "generation" / "models" / "1" / "graph").stat().st_size == 100_000


def test_the_state_and_the_history_are_on_the_disk_before_they_count(tmp_path: Path, disk: Disk) -> None:
    folder = ServingFolder.of(tmp_path, 8000)
    with folder.serve_lock():
        assert ("sync", str(tmp_path)) in disk.events
        folder.write_state("a" * 16, None)
        assert not disk.unsynced
        assert disk.synced_after(folder.path)
        folder.record(HistoryEvent(action="promote", outcome="done", source=None, target="b" * 16, seconds=1.0))
    assert disk.events[-1] == ("sync", str(folder.history_path))


def test_serial_numbers_are_on_the_disk_before_they_are_given_out(tmp_path: Path, disk: Disk) -> None:
    assert next_serial(tmp_path) == 1
    assert not disk.unsynced
    assert disk.synced_after(tmp_path)


def test_a_disk_that_refuses_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "state.json", "old")

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            write_text(tmp_path / "state.json", "new")
        with pytest.raises(OSError, match="Input/output error"):
            make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "state.json").read_text() == "old"


def test_a_file_system_without_syncing_of_folders_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_folder(tmp_path)

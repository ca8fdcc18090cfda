"""Nothing is given the name that makes it count before all of it is on the disk, and then its folder is synced too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trident.generation.durable import make_folder, put_in_place, sync_folder
from trident.generation.serials import next_serial
from trident.generation.staging import staged_folder, write_text
from trident.generation.state import HistoryEvent, ServingFolder


def fill(folder: Path) -> None:
    (folder / "models" / "1").mkdir(parents=True)
    (folder / "models" / "1" / "graph").write_bytes(b"x" * 100_000)
    (folder / "models" / "link").symlink_to(folder / "models" / "1" / "graph")
    (folder / "empty").mkdir()
    (folder / "manifest.json").write_text("{}")


def test_a_folder_is_on_the_disk_before_it_counts(tmp_path: Path, disk: Any) -> None:
    with staged_folder(tmp_path / "out" / "generation") as staging:
        fill(staging)
    assert not disk.unsynced
    assert disk.synced_after(tmp_path / "out")
    assert ("sync", str(tmp_path)) in disk.events, "the folder of generations was made here"


def test_a_folder_that_replaces_another_is_on_the_disk_before(tmp_path: Path, disk: Any) -> None:
    for _ in range(2):
        with staged_folder(tmp_path / "run", overwrite=True) as staging:
            fill(staging)
    assert not disk.unsynced
    assert disk.synced_after(tmp_path)


def test_a_folder_that_is_made_anew_at_every_start_does_not_wait(tmp_path: Path, disk: Any) -> None:
    with staged_folder(tmp_path / "models", lasting=False) as staging:
        fill(staging)
    assert str(tmp_path / "models") in disk.events[-1][2]
    assert disk.unsynced


def test_what_is_put_in_place_is_on_the_disk_before(tmp_path: Path, disk: Any) -> None:
    made = tmp_path / ".staging"
    made.mkdir()
    fill(made)
    put_in_place(made, tmp_path / "generation")
    assert not disk.unsynced
    assert disk.synced_after(tmp_path)
    assert (tmp_path / "generation" / "models" / "1" / "graph").stat().st_size == 100_000


def test_the_state_and_the_history_are_on_the_disk_before_they_count(tmp_path: Path, disk: Any) -> None:
    folder = ServingFolder.of(tmp_path, 8000)
    with folder.serve_lock():
        assert ("sync", str(tmp_path)) in disk.events
        folder.write_state("a" * 16, None)
        assert not disk.unsynced
        assert disk.synced_after(folder.path)
        folder.record(HistoryEvent(action="promote", outcome="done", source=None, target="b" * 16, seconds=1.0))
    assert disk.events[-1] == ("sync", str(folder.history_path))


def test_serial_numbers_are_on_the_disk_before_they_are_given_out(tmp_path: Path, disk: Any) -> None:
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

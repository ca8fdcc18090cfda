"""What stands beside a running server: read back as written, or refused with the file's name."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from trident.errors import ConfigError, ServerError
from trident.generation.state import HistoryEvent, ServerRecord, ServingFolder, ServingState, serving_folders
from trident.server.serving import size_bytes

RECORD = ServerRecord(
    http="127.0.0.1:8000",
    grpc="127.0.0.1:8001",
    metrics="127.0.0.1:8002",
    variant="cpu",
    cache=True,
    plans="plans",
    supervisor_pid=1,
    tritonserver_pid=2,
    started_at="2026-11-24T12:00:00+00:00",
)


@pytest.fixture
def folder(tmp_path: Path) -> ServingFolder:
    found = ServingFolder.of(tmp_path, 8000)
    found.path.mkdir(parents=True)
    return found


def test_switches_are_counted(folder: ServingFolder) -> None:
    assert folder.state() is None
    first = folder.write_state("a" * 16, None)
    second = folder.write_state("b" * 16, "a" * 16)
    assert (first.epoch, second.epoch) == (1, 2)
    assert folder.state() == second
    assert isinstance(second, ServingState)
    assert second.switched_at >= first.switched_at
    folder.restore_state(first)
    assert folder.state() == first


def test_a_server_is_there_while_it_is_ready(folder: ServingFolder) -> None:
    assert folder.server() is None
    folder.write_server(RECORD)
    assert folder.server() == RECORD
    folder.remove_server()
    folder.remove_server()
    assert folder.server() is None


def test_a_damaged_file_is_named(folder: ServingFolder) -> None:
    (folder.path / "state.json").write_text('{"serving": ')
    with pytest.raises(ServerError, match=r"/state\.json is damaged: .*; remove it and start trident serve again"):
        folder.state()
    (folder.path / "server.json").write_text('{"http": 5}')
    with pytest.raises(ServerError, match=r"/server\.json is damaged: "):
        folder.server()


def test_each_key_is_new_and_its_owners_alone(folder: ServingFolder) -> None:
    first = folder.make_key()
    assert folder.key() == first
    assert folder.key_path.stat().st_mode & 0o777 == 0o600
    assert folder.make_key() != first


def test_the_history_leaves_out_a_line_that_was_cut_off(folder: ServingFolder) -> None:
    assert folder.history() == []
    event = HistoryEvent(action="promote", outcome="done", source="a", target="b", seconds=1.5, switch_ms=4.0)
    folder.record(event)
    with folder.history_path.open("a") as file:
        file.write('{"action": "prom')
    folder.record(event)
    found = folder.history()
    assert [(each.action, each.target, each.switch_ms) for each in found] == [("promote", "b", 4.0)] * 2
    assert all(each.at for each in found)


def test_the_lock_is_waited_for_as_long_as_told(folder: ServingFolder) -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with folder.lock():
            held.set()
            free.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    started = time.monotonic()
    message = r"another promotion or rollback is under way \(.*\): wait until it has ended"
    with pytest.raises(ServerError, match=message), folder.lock(wait_s=0.2):
        pass
    assert time.monotonic() - started >= 0.2
    free.set()
    with folder.lock(wait_s=10):
        pass
    thread.join()


def test_one_serves_on_a_port_and_leaves_an_unused_folder_not_behind(folder: ServingFolder) -> None:
    with folder.serve_lock():
        with pytest.raises(ServerError, match="another trident serve has port 8000 "), folder.serve_lock():
            pass
        assert folder.path.exists()
    assert not folder.path.exists()
    with folder.serve_lock():
        folder.write_state("a" * 16, None)
    assert [path.name for path in folder.path.iterdir()] == ["state.json"]


def test_folders_are_found_by_port(tmp_path: Path) -> None:
    assert serving_folders(tmp_path) == []
    for name in ("8000", "900", "not-a-port"):
        (tmp_path / ".serving" / name).mkdir(parents=True)
    assert [folder.path.name for folder in serving_folders(tmp_path)] == ["900", "8000"]


def test_sizes() -> None:
    assert [size_bytes(text) for text in ("1048576", "64MiB", "2 GiB", "3KiB")] == [2**20, 2**26, 2**31, 3072]
    with pytest.raises(ConfigError, match="--cache must be at least one byte, got '0'"):
        size_bytes("0")
    for bad in ("", "many", "64MB", "-1", "1.5MiB"):
        with pytest.raises(ConfigError, match="--cache must be bytes, or a number of KiB, MiB or GiB such as 256MiB"):
            size_bytes(bad)

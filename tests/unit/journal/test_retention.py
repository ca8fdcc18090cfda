"""The log is cut where nothing on disk needs it any more, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from trident.generation.generation import Manifest, generation_id, write_manifest
from trident.generation.holds import Position
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.retention import cut_log, lease


def generation(folder: Path, serial: int, holds: Position | None) -> str:
    parts = {"served": "fp32", "serial": str(serial)}
    made = Manifest(
        id=generation_id(parts),
        serial=serial,
        created_at="2026-11-29T00:00:00+00:00",
        encoder_fingerprint="f",
        parts=parts,
        parents={},
        text={},
        index={},
        products=1,
        stages=[],
        quality={},
        versions={},
        holds={} if holds is None else asdict(holds),
    )
    (folder / made.id).mkdir(parents=True)
    write_manifest(folder / made.id, made)
    return made.id


@pytest.fixture
def log(tmp_path) -> Log:
    folder = LiveFolder.of(tmp_path)
    folder.make()
    made = Log.open(folder.log, segment_bytes=1)
    for number in range(1, 9):
        made.append([b'{"id":"%d"}' % number])
    return made


def firsts(tmp_path: Path) -> list[int]:
    return sorted(int(path.name[:20]) for path in LiveFolder.of(tmp_path).log.glob("*.log"))


def test_a_generation_without_a_number_needs_all_of_the_log(tmp_path, log):
    generation(tmp_path, 1, None)
    generation(tmp_path, 2, log.lineage.position(5))
    assert cut_log(tmp_path) == []
    assert firsts(tmp_path) == list(range(1, 9))


def test_the_log_is_cut_behind_the_generation_that_goes_least_far(tmp_path, log):
    generation(tmp_path, 1, log.lineage.position(3))
    generation(tmp_path, 2, log.lineage.position(5))
    assert len(cut_log(tmp_path)) == 3
    assert firsts(tmp_path) == [4, 5, 6, 7, 8]
    log.close()
    assert Log.open(LiveFolder.of(tmp_path).log).last == 8


def test_the_last_segment_stays_and_nothing_is_cut_without_a_generation(tmp_path, log):
    assert cut_log(tmp_path) == []
    generation(tmp_path, 1, log.lineage.position(8))
    cut_log(tmp_path)
    assert firsts(tmp_path) == [8]


def test_a_generation_of_another_log_needs_nothing_of_this_one(tmp_path, log):
    generation(tmp_path, 1, Position(log="other", epoch=1, branch="b", number=1))
    generation(tmp_path, 2, log.lineage.position(5))
    cut_log(tmp_path)
    assert firsts(tmp_path) == [6, 7, 8]


def test_a_build_under_way_keeps_the_log_behind_its_number(tmp_path, log):
    generation(tmp_path, 1, log.lineage.position(6))
    with lease(LiveFolder.of(tmp_path), 2):
        cut_log(tmp_path)
        assert firsts(tmp_path) == [3, 4, 5, 6, 7, 8]
    cut_log(tmp_path)
    assert firsts(tmp_path) == [7, 8]
    assert list(LiveFolder.of(tmp_path).leases.iterdir()) == []


def test_a_dead_process_keeps_nothing(tmp_path, log):
    generation(tmp_path, 1, log.lineage.position(6))
    program = (
        "import os, sys; from pathlib import Path; from trident.journal.folder import LiveFolder; "
        "from trident.journal.retention import lease; "
        "held = lease(LiveFolder.of(Path(sys.argv[1])), 2); held.__enter__(); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False, env=environment)
    assert len(list(LiveFolder.of(tmp_path).leases.iterdir())) == 1
    cut_log(tmp_path)
    assert firsts(tmp_path) == [7, 8]


def test_vectors_of_generations_that_are_gone_go_too(tmp_path, log):
    kept = generation(tmp_path, 1, log.lineage.position(6))
    folder = LiveFolder.of(tmp_path)
    for name in (kept, "0" * 16):
        folder.vectors("f" * 64, name).touch()
    cut_log(tmp_path)
    assert [path.name.rpartition("-")[2] for path in (folder.path / "vectors").iterdir()] == [kept]


def test_the_size_of_a_log_that_is_being_cut_is_told(tmp_path):
    """The thread that hands over metrics asks for it every second, and would end with an error."""
    folder, ending = LiveFolder.of(tmp_path), threading.Event()
    folder.make()
    folder.log.mkdir()
    paths = [folder.log / f"{number}.log" for number in range(40)]

    def come_and_go() -> None:
        while not ending.is_set():
            for path in paths:
                path.write_bytes(b"1234")
            for path in paths:
                path.unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        sizes = [folder.log_bytes() for _ in range(2000)]
    finally:
        ending.set()
        thread.join()
    assert max(sizes) <= 4 * len(paths)
    paths[0].write_bytes(b"1234")
    assert folder.log_bytes() == 4

"""Where each process stands: told by itself, read by whoever looks, gone with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from trident.journal.standing import FOLDER, OwnStanding, standings


def test_what_is_told_is_read_and_gone_at_the_end(tmp_path):
    own = OwnStanding(tmp_path, 7)
    assert standings(tmp_path) == []  # nothing is told yet
    own.tell(2**40, 2**64 - 1)
    (found,) = standings(tmp_path)
    assert (found.serial, found.pid, found.number, found.checksum) == (7, os.getpid(), 2**40, 2**64 - 1)
    time.sleep(0.05)
    assert 0.05 <= standings(tmp_path)[0].age_s < 30
    own.close()
    assert standings(tmp_path) == []


def test_a_process_that_was_killed_counts_nothing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = OwnStanding(tmp_path, 1)
    own.tell(5, 6)
    path = tmp_path / FOLDER / f"1-{os.getpid()}"
    dead = path.with_name(f"1-{ended.pid}")
    dead.write_bytes(path.read_bytes())
    assert [each.pid for each in standings(tmp_path)] == [os.getpid()]
    assert not dead.exists()


def test_who_reads_while_it_is_told_reads_nothing_torn(tmp_path: Path):
    own, ended = OwnStanding(tmp_path, 1), threading.Event()

    def tell() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            own.tell(number, number * 3)

    teller = threading.Thread(target=tell)
    teller.start()
    try:
        deadline, seen = time.monotonic() + 0.5, set()
        while time.monotonic() < deadline:
            for each in standings(tmp_path):
                assert each.checksum == 3 * each.number
                seen.add(each.number)
    finally:
        ended.set()
        teller.join()
    assert len(seen) > 1

"""The check of a live catalogue beside the golden queries: who is behind, and who differs, is named.

That a product which was written is found is asked of a real server in tests/triton/test_live_operation.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trident.errors import ServerError
from trident.generation.generation import Generation
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.journal.standing import FOLDER, OwnStanding
from trident.live.operations import Entry, Product, Tombstone, encode_record
from trident.live.preparing import recover
from trident.probe.golden_check import GoldenReport, check_with
from trident.probe.tail_check import TailCheck


class Readers:
    """Two processes that say where they stand: this one, and another that does nothing else."""

    def __init__(self, generation: Generation, folder: Path, other: int) -> None:
        shutil.copytree(generation.folder, folder / generation.id)
        self.generation, self.folder = generation, folder
        self.serving = ServingFolder.of(folder, 8000)
        self.serving.path.mkdir(parents=True)
        recover(LiveFolder.of(folder))
        self.own = OwnStanding(self.serving.path, generation.serial)
        self.others = self.serving.path / FOLDER / f"{generation.serial}-{other}"
        self.check = TailCheck(folder, "127.0.0.1:8000", lag_s=0.2)

    def serve(self) -> None:
        self.serving.write_state(self.generation.id, None)

    def stand(self, own: tuple[int, int], other: tuple[int, int]) -> None:
        self.own.tell(*other)
        self.others.write_bytes(Path(self.serving.path / FOLDER / self._name).read_bytes())
        self.own.tell(*own)

    def write(self, entry: Entry) -> None:
        log = Log.open(LiveFolder.of(self.folder).log)
        log.append([encode_record("written", entry)])
        Published(LiveFolder.of(self.folder).published).write(log.last, log.lineage)
        log.close()

    @property
    def _name(self) -> str:
        return f"{self.generation.serial}-{os.getpid()}"


@pytest.fixture
def readers(generation: Generation, tmp_path: Path) -> Iterator[Readers]:
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield Readers(generation, tmp_path, other.pid)
    other.communicate()


def test_nothing_is_asked_for_before_something_serves(readers):
    readers.check.require()


def test_readers_that_stand_at_the_published_number_pass(readers):
    readers.serve()
    readers.write(Tombstone())
    readers.stand((1, 5), (1, 5))
    readers.check.require()  # the one operation deleted what nobody has: no product is asked for


def test_a_process_that_is_behind_is_named(readers):
    readers.serve()
    readers.write(Tombstone())
    readers.stand((1, 5), (0, 0))
    with pytest.raises(ServerError, match=r"process \d+ answers with number 0 of the live catalogue, which was at 1"):
        readers.check.require()


def test_processes_that_differ_are_named(readers):
    readers.serve()
    readers.stand((0, 5), (0, 6))
    words = r"must have the same live catalogue at number 0, got checksums 0{15}\d by process \d+, 0{15}\d by process"
    with pytest.raises(ServerError, match=words):
        readers.check.require()


def test_where_nobody_says_how_far_it_is_that_is_said(readers):
    readers.serve()
    readers.own.close()
    with pytest.raises(ServerError, match=r"no process of version \d+ says how far it follows the live catalogue"):
        readers.check.require()


def test_a_server_that_does_not_answer_is_said(readers):
    readers.serve()
    readers.write(Product(title="new", attributes={}))
    readers.stand((1, 5), (1, 5))
    with pytest.raises(ServerError, match=r"tritonserver at 127\.0\.0\.1:8000 does not answer"):
        readers.check.require()


def test_it_is_asked_only_where_the_golden_queries_are_right():
    called = []
    wrong = GoldenReport(generation="g", asked=1, differences=("other",))
    assert check_with(lambda: wrong, lambda: called.append(1)) is wrong
    assert called == []
    right = GoldenReport(generation="g", asked=1, differences=())
    assert check_with(lambda: right, lambda: called.append(1)) is right
    assert called == [1]

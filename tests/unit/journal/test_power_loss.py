"""The log keeps what it promised, on a disk that loses power: it forgets what was not synced, or keeps some of it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trident.errors import FullError, StoppedError, UnknownOutcomeError
from trident.generation.holds import Position
from trident.journal.cursor import LogCursor
from trident.journal.disk import RealDisk
from trident.journal.log import Log

FOLDER = Path("/log")
PAGE = 16  # bytes that reach the disk together, or some of them: small, so that every group has many
TRIALS = 1000


class PowerLossError(Exception):
    """The power went."""


@dataclass
class Inode:
    """A file: what is on the disk, what programs see, and what was done since it was synced."""

    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, page), or (size, None): truncated

    def keep_some(self, target: bytearray, draw: random.Random) -> None:
        """Do some of what was not synced, in any order, torn at any byte; the rest is forgotten."""
        kept = [each for each in self.pending if draw.random() < 0.6]
        draw.shuffle(kept)
        for offset, data in kept:
            torn = data if data is None or draw.random() < 0.7 else data[: draw.randrange(len(data) + 1)]
            self.apply(target, offset, torn)

    def apply(self, target: bytearray, offset: int, data: bytes | None) -> None:
        if data is None:
            del target[offset:]
            target.extend(b"\0" * (offset - len(target)))
            return
        target.extend(b"\0" * (offset - len(target)))
        target[offset : offset + len(data)] = data


class FaultyDisk:
    """A disk in memory whose calls fail, or lose the power, where ``faults`` says so."""

    def __init__(self, draw: random.Random, faults: Callable[[str], str | None] = lambda call: None) -> None:
        self.draw, self.faults = draw, faults
        self.durable: dict[str, Inode] = {}
        self.seen: dict[str, Inode] = {}
        self.calls = 0

    def fault(self, call: str) -> str | None:
        self.calls += 1
        found = self.faults(call)
        if found == "power":
            raise PowerLossError
        return found

    def names(self, folder: Path) -> list[str]:
        return sorted(self.seen)

    def make_folder(self, folder: Path) -> None:
        pass

    def open(self, path: Path, *, create: bool = False) -> FaultyFile:
        if create:
            if self.fault("create"):
                raise OSError(errno.ENOSPC, "No space left on device")
            inode = self.seen.setdefault(path.name, Inode())
            inode.seen.clear()
            inode.pending.append((0, None))
        return FaultyFile(self, self.seen[path.name])

    def remove(self, path: Path) -> None:
        if self.fault("remove"):
            raise OSError(errno.EIO, "Input/output error")
        self.seen.pop(path.name, None)

    def sync_folder(self, folder: Path) -> None:
        if self.fault("sync_folder"):
            raise OSError(errno.EIO, "Input/output error")
        self.durable = dict(self.seen)

    def after_power_loss(self) -> FaultyDisk:
        """Return what is found afterwards: of what was not synced any part, in any order, torn at any byte."""
        draw = self.draw
        found = FaultyDisk(draw)
        for name in sorted(self.durable.keys() | self.seen.keys()):
            versions = [self.durable.get(name), self.seen.get(name)]
            inode = draw.choice(versions) if versions[0] is not versions[1] else versions[0]
            if inode is None:
                continue
            content = bytearray(inode.durable)
            inode.keep_some(content, draw)
            found.seen[name] = found.durable[name] = Inode(content, bytearray(content))
        return found

    def after_kill(self) -> FaultyDisk:
        """Return what a new process finds: everything that was written, synced or not."""
        found = FaultyDisk(self.draw)
        found.durable, found.seen = dict(self.durable), dict(self.seen)
        return found


class FaultyFile:
    def __init__(self, disk: FaultyDisk, inode: Inode) -> None:
        self.disk, self.inode = disk, inode

    def read(self, offset: int, length: int | None = None) -> bytes:
        data = bytes(self.inode.seen[offset:])
        return data if length is None else data[:length]

    def write(self, offset: int, data: bytes) -> None:
        fault = self.disk.fault("write")
        kept = data if fault is None else data[: int(fault) % (len(data) + 1)]
        for start in range(0, len(kept), PAGE):
            page = kept[start : start + PAGE]
            self.inode.apply(self.inode.seen, offset + start, page)
            self.inode.pending.append((offset + start, page))
        if fault is not None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def truncate(self, size: int) -> None:
        if self.disk.fault("truncate"):
            raise OSError(errno.EIO, "Input/output error")
        self.inode.apply(self.inode.seen, size, None)
        self.inode.pending.append((size, None))

    def sync(self) -> None:
        if self.disk.fault("sync"):
            self.inode.keep_some(self.inode.durable, self.disk.draw)
            self.inode.pending = []  # marked clean: programs see it, and no later sync writes it
            raise OSError(errno.EIO, "Input/output error")
        for offset, data in self.inode.pending:
            self.inode.apply(self.inode.durable, offset, data)
        self.inode.pending = []

    def close(self) -> None:
        pass


class Shop:
    """Writes groups to a log over lives of its process and of the machine, and remembers what it was told."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.kept: list[bytes] = []  # acknowledged, or seen after a restart
        self.unknown: list[bytes] = []  # one group at most
        self.refused: set[bytes] = set()
        self.published: Position | None = None
        self.sent = 0

    def life(self, disk: FaultyDisk, groups: int) -> None:
        """Open the log, check what is in it, and append groups until something stops it."""
        log = Log.open(FOLDER, disk=disk, promised=self.published, segment_bytes=600)
        self.check(disk, log)
        self.published = log.lineage.position(log.last)
        for _ in range(groups):
            group = [b'{"n":%d,"t":"%s"}' % (self.sent + n, b"x" * self.draw.randrange(60)) for n in range(3)]
            group = group[: self.draw.randint(1, 3)]
            self.sent += 3
            self.unknown = group
            try:
                last = log.append(group)
            except (FullError, StoppedError):
                self.unknown = []
                self.refused |= set(group)
                continue
            except UnknownOutcomeError:
                with pytest.raises(StoppedError, match=r"nothing was written: .*; restart trident serve"):
                    log.append(group)
                return
            self.kept += group
            self.unknown = []
            assert last == len(self.kept)
            self.published = log.lineage.position(last)

    def check(self, disk: FaultyDisk, log: Log) -> None:
        cursor = LogCursor(FOLDER, 0, disk=disk)
        found = [record for _, record in cursor.advance(log.last)]
        assert found in (self.kept, self.kept + self.unknown)
        assert not self.refused.intersection(found)
        self.kept, self.unknown = found, []


def faults_of(draw: random.Random) -> Callable[[str], str | None]:
    """Return which calls of one life fail."""
    power_at, rate = draw.randrange(5, 80), draw.choice((0.0, 0.0, 0.05, 0.3))
    left = [power_at if draw.random() < 0.6 else 10**9]

    def fault(call: str) -> str | None:
        left[0] -= 1
        if left[0] == 0:
            return "power"
        return str(draw.randrange(10**6)) if draw.random() < rate else None

    return fault


def live_and_die(seed: int) -> tuple[int, int]:
    """Run one trial of several lives; return how many records were kept, and how many starts failed."""
    draw = random.Random(seed)
    shop, disk, failed = Shop(draw), FaultyDisk(draw), 0
    for _ in range(draw.randint(2, 6)):
        disk.faults = faults_of(draw)
        try:
            shop.life(disk, draw.randint(0, 12))
        except PowerLossError:
            pass
        except (OSError, FullError, StoppedError):
            failed += 1  # of the recovery: nothing was promised since
        disk = disk.after_power_loss() if draw.random() < 0.7 else disk.after_kill()
    shop.life(disk, 1)  # every state starts
    return len(shop.kept), failed


def test_nothing_promised_is_lost_and_nothing_refused_comes_back_in_a_thousand_trials():
    outcomes = [live_and_die(seed) for seed in range(TRIALS)]
    assert sum(kept for kept, _ in outcomes) > 10 * TRIALS
    assert sum(failed for _, failed in outcomes) > 10


@pytest.mark.slow
def test_nothing_promised_is_lost_in_many_more_trials(slow_seed):
    for seed in range(slow_seed, slow_seed + 20_000):
        live_and_die(seed)


@pytest.mark.parametrize("call", ["write", "sync", "truncate", "create", "sync_folder", "power"])
def test_each_call_failing_once_loses_nothing(call):
    """Of the same twelve groups, each call of the kind fails in turn; then the power goes."""
    for nth in range(60):
        draw = random.Random(nth)
        count = [0]

        def fault(name: str, count: list[int] = count, nth: int = nth) -> str | None:
            count[0] += call in (name, "power")
            fails = count[0] == nth + 1 and call in (name, "power")
            return ("power" if call == "power" else "7") if fails else None

        shop, disk = Shop(draw), FaultyDisk(draw, fault)
        with suppress(PowerLossError, OSError, FullError, StoppedError):
            shop.life(disk, 12)
        shop.life(disk.after_power_loss(), 2)


def test_the_last_group_torn_at_every_byte_is_cut(tmp_path):
    log = Log.open(tmp_path / "log")
    log.append([b'{"id":"1"}', b'{"id":"2"}'])
    log.close()
    (path,) = (tmp_path / "log").glob("*.log")
    before = path.stat().st_size
    log = Log.open(tmp_path / "log")
    log.append([b'{"id":"3"}'])
    log.close()
    whole = path.read_bytes()
    for size in range(before, len(whole)):
        path.write_bytes(whole[:size])
        log = Log.open(tmp_path / "log")
        assert log.last == 2
        log.close()
        assert path.stat().st_size == before
    path.write_bytes(whole)
    assert Log.open(tmp_path / "log").last == 3
    assert RealDisk().names(tmp_path / "log") == [path.name]

"""Where a live catalogue lies: a folder beside the generations.

generations/.live/
    log/            the truth; see ``trident.journal.log``
    vectors/        of titles that no index has, by encoder and generation; throw-away
    published       the number that was answered with last, in shared memory
    leases/         builds under way, which need the log behind their number
    before.json     ids of the generations that were there when the log began
    write-key       who has it may write; mode 0600, outlives restarts
    leader.json     where the server is that writes
    .lock           of the one writer
    .hold           taken by a promotion while writes wait, and shared by the writer for each group
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trident.errors import LiveError, LogError, StoppedError
from trident.generation.durable import put_in_place
from trident.generation.holds import Position
from trident.generation.staging import write_text
from trident.journal.disk import RealDisk
from trident.journal.lineage import Lineage
from trident.journal.segments import SegmentName, present_lineage, read_segment

LIVE_FOLDER = ".live"
KEY_VARIABLE = "TRIDENT_WRITE_KEY"
BEFORE_FILE = "before.json"
LOCK_POLL_S = 0.002


@dataclass(frozen=True)
class LiveFolder:
    """The folder of a live catalogue; it may not be there yet."""

    path: Path

    @classmethod
    def of(cls, generations: Path) -> LiveFolder:
        """Return that of a folder of generations."""
        return cls(generations / LIVE_FOLDER)

    @property
    def log(self) -> Path:
        """The log."""
        return self.path / "log"

    @property
    def published(self) -> Path:
        """The number that was answered with last."""
        return self.path / "published"

    @property
    def key_path(self) -> Path:
        """The file of the write key."""
        return self.path / "write-key"

    @property
    def leases(self) -> Path:
        """A file for each build under way."""
        return self.path / "leases"

    def vectors(self, fingerprint: str, generation: str) -> Path:
        """Return the file of the vectors that an encoder made beside a generation's index."""
        return self.path / "vectors" / f"{fingerprint[:32]}-{generation}"

    def make(self) -> None:
        """Make the folders."""
        RealDisk().make_folder(self.path / "vectors")

    def begin(self, generations: Iterable[str]) -> None:
        """Write down which generations are there, where the log has not begun yet.

        Raises:
            LogError: If the log cannot be read.
            OSError: If the disk refuses.
        """
        if not self.last():
            write_text(self.path / BEFORE_FILE, json.dumps(sorted(generations)) + "\n")

    def before(self) -> set[str] | None:
        """Return the ids of the generations that were there when the log began; None: nobody wrote them down."""
        try:
            return set(json.loads((self.path / BEFORE_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def lineage(self) -> Lineage | None:
        """Return the log's; None where there is no log.

        Raises:
            LogError: If it cannot be read.
        """
        return present_lineage(RealDisk(), self.log)

    def last(self) -> int:
        """Return the last number of the log, 0 where there is none, without recovering anything.

        Raises:
            LogError: If it is damaged.
        """
        disk = RealDisk()
        names = SegmentName.all(disk, self.log)
        segments = [read_segment(disk, self.log, name) for name in names[-2:]]
        return max((segment.last for segment in segments if segment is not None), default=0)

    def first(self) -> int:
        """Return the first number that may be in the log, 1 where there is none."""
        names = SegmentName.all(RealDisk(), self.log)
        return names[0].first if names else 1

    def log_bytes(self) -> int:
        """Return how large the log is on the disk."""
        total = 0
        for path in self.log.iterdir() if self.log.is_dir() else ():
            with suppress(FileNotFoundError):  # retention has just removed it
                total += path.stat().st_size
        return total

    def start_of(self, holds: Position | None, generation: str) -> int:
        """Return the number that a generation goes to, as this log counts.

        Args:
            holds: Of the generation; None: it was exported before there was a log, or without it.
            generation: Its id.

        Raises:
            LogError: If the number is another log's or epoch's, the log does not reach it or back to it, or there is
                none and the generation was not there when the log began.
        """
        lineage = self.lineage()
        if holds is None:
            before = self.before()
            if before is not None and generation not in before and self.last():
                raise LogError(
                    f"generation {generation} is not of the log {self.log}: it was exported without it, after the log "
                    "began, and what it has newer would be overwritten; export it again with --holds N"
                )
            return 0
        fault = f"it goes as far as number {holds.number:,} of log {holds.log}, and there is none here"
        if lineage is not None:
            last = self.last()
            fault = lineage.fault(holds) or (
                f"it goes as far as number {holds.number:,}, and the log ends at {last:,}"
                if holds.number > last
                else ""
            )
        if fault:
            raise LogError(
                f"generation {generation} is not of the log {self.log}: {fault}; export it again with --holds N"
            )
        return holds.number

    def make_key(self) -> str:
        """Return the write key, made where there is none."""
        if not self.key_path.is_file():
            staging = self.key_path.with_name(f".write-key.{os.getpid()}")
            with os.fdopen(os.open(staging, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
            put_in_place(staging, self.key_path)
        return self.key()

    def key(self, file: Path | None = None) -> str:
        """Return the write key: of a file, of the variable ``TRIDENT_WRITE_KEY``, or of this folder.

        Raises:
            LiveError: If there is none, or it cannot be read.
        """
        named = os.environ.get(KEY_VARIABLE)
        if file is None and named:
            return named
        path = file or self.key_path
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise LiveError(
                f"the write key {path} cannot be read ({reason}): run this as the user of trident serve --live, name "
                f"the file with --write-key FILE, or set {KEY_VARIABLE}"
            ) from error

    @contextmanager
    def held(self, *, shared: bool, wait_s: float) -> Iterator[None]:
        """Hold writes off while the block runs, or, shared, be the writer that they are held off from.

        Raises:
            StoppedError: If the other side has not let go after ``wait_s``.
        """
        whom = "a promotion holds writes off" if shared else "the writer did not pause"
        refusal = StoppedError(f"nothing was written: {whom} for {wait_s:g} s; try again")
        with _locked(self.path / ".hold", fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_s, refusal):
            yield

    @contextmanager
    def writing(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Be the one writer of the folder while the block runs; the lock dies with its process.

        Args:
            wait_s: For one that is just ending.

        Raises:
            LogError: If another process is.
        """
        refusal = LogError(
            f"another server writes to {self.path}: stop it, follow it with --follow, or serve another folder "
            "of generations"
        )
        with _locked(self.path / ".lock", fcntl.LOCK_EX, wait_s, refusal):
            yield


@contextmanager
def _locked(path: Path, kind: int, wait_s: float, refusal: LiveError) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise refusal from error
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)

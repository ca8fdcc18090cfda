"""What stands beside a running server: which generation serves, where the server listens, the key, the history.

generations/.serving/<http port>/
    models/          the runtime repository that tritonserver reads
    serials.json     serial number -> id of every generation loaded since the server's start
    state.json       which generation serves, and which one before; outlives the server
    server.json      addresses and process ids; there while the server is ready
    key              of the server's restricted protocols, readable by its owner only
    processes.json   how many of the models' processes died, and how many models lack one
    history.jsonl    one line a promotion, rollback or refusal
    refusal.json     the numbers of the last refusal
    queries.jsonl    the query log, when it is on
    rules.json       with a response cache: the rules that held when the server started
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from trident.config import from_table
from trident.errors import ConfigError, ServerError
from trident.generation.durable import make_folder
from trident.generation.staging import write_text
from trident.generation.tuning import UNTUNED, Tuning

SERVING_FOLDER = ".serving"
KEY_VARIABLE = "TRIDENT_KEY"
PROCESSES_FILE = "processes.json"
LOCK_POLL_S = 0.05

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ServingState:
    """Which generation serves."""

    serving: str  # id
    previous: str | None  # id of the one before; what a rollback returns to
    switched_at: str  # ISO 8601, UTC
    epoch: int  # counts the switches

    def __post_init__(self) -> None:
        """Check the time."""
        datetime.fromisoformat(self.switched_at)

    @property
    def switched(self) -> datetime:
        """When it was switched to."""
        return datetime.fromisoformat(self.switched_at).astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class ServerRecord:
    """A running server."""

    http: str  # host:port
    grpc: str
    metrics: str
    variant: str  # of the encoder
    plans: str  # the cache of trident engine, for the variant tensorrt
    cache: bool  # whether the response cache is on
    supervisor_pid: int  # of trident serve
    tritonserver_pid: int
    started_at: str  # ISO 8601, UTC
    tuning: Tuning = UNTUNED  # what its configuration has in place of a generation's
    live: bool = False  # whether the catalogue is live
    tls: bool = False  # whether gRPC has it


@dataclass(frozen=True, kw_only=True)
class HistoryEvent:
    """A promotion, rollback or refusal."""

    action: str  # promote, rollback
    outcome: str  # done, refused, failed
    source: str | None  # id of the generation that served before
    target: str  # id of the generation that was wanted
    seconds: float  # from the start to the verified switch or the refusal
    switch_ms: float | None = None  # of the switch itself; None: it did not come to it
    forced: str | None = None  # the reason for which a refusal of the gate was passed over
    reason: str | None = None  # why not
    at: str = ""  # ISO 8601, UTC; filled in when it is recorded


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """What became of the models' processes since ``trident serve`` began."""

    died: int = 0
    down: int = 0  # models that lack one now


@dataclass(frozen=True)
class ServingFolder:
    """The folder of the server on one HTTP port."""

    path: Path

    @classmethod
    def of(cls, generations: Path, http_port: int) -> ServingFolder:
        """Return the folder of a port; it may not be there yet."""
        return cls(generations / SERVING_FOLDER / str(http_port))

    @property
    def models(self) -> Path:
        """The runtime repository."""
        return self.path / "models"

    @property
    def key_path(self) -> Path:
        """The file of the key."""
        return self.path / "key"

    @property
    def history_path(self) -> Path:
        """One line a promotion, rollback or refusal."""
        return self.path / "history.jsonl"

    @property
    def refusal_path(self) -> Path:
        """The numbers of the last refusal."""
        return self.path / "refusal.json"

    @property
    def query_log_path(self) -> Path:
        """The query log."""
        return self.path / "queries.jsonl"

    def state(self) -> ServingState | None:
        """Return which generation serves; None before the first start.

        Raises:
            ServerError: If the file is damaged.
        """
        return _read(ServingState, self.path / "state.json")

    def write_state(self, serving: str, previous: str | None) -> ServingState:
        """Write which generation serves and return it; the epoch is one more than before."""
        before = self.state()
        state = ServingState(
            serving=serving, previous=previous, switched_at=now(), epoch=1 if before is None else before.epoch + 1
        )
        self.restore_state(state)
        return state

    def restore_state(self, state: ServingState) -> None:
        """Write a state as it is."""
        _write(self.path / "state.json", state)

    def server(self) -> ServerRecord | None:
        """Return the running server's record; None when no server is ready.

        Raises:
            ServerError: If the file is damaged.
        """
        return _read(ServerRecord, self.path / "server.json")

    def write_server(self, record: ServerRecord) -> None:
        """Write the record of a server that is ready."""
        _write(self.path / "server.json", record)

    def remove_server(self) -> None:
        """Say that no server is ready."""
        (self.path / "server.json").unlink(missing_ok=True)

    def processes(self) -> ProcessRecord:
        """Return what became of the models' processes; nothing where that is not written down.

        Raises:
            ServerError: If the file is damaged.
        """
        return _read(ProcessRecord, self.path / PROCESSES_FILE) or ProcessRecord()

    def write_processes(self, record: ProcessRecord) -> None:
        """Write what became of the models' processes; on a full disk the last record stays."""
        with suppress(OSError):
            _write(self.path / PROCESSES_FILE, record)

    def remove_processes(self) -> None:
        """Forget what became of the models' processes, as there is no server any more."""
        (self.path / PROCESSES_FILE).unlink(missing_ok=True)

    def make_key(self) -> str:
        """Write a new key, readable by its owner only, and return it."""
        key = secrets.token_hex(32)
        self.key_path.unlink(missing_ok=True)
        with os.fdopen(os.open(self.key_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(key)
        return key

    def key(self) -> str:
        """Return the key: of the variable ``TRIDENT_KEY`` where it is set, else of the file.

        Raises:
            ServerError: If there is none, or it cannot be read.
        """
        named = os.environ.get(KEY_VARIABLE)
        if named:
            return named
        try:
            return self.key_path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ServerError(
                f"the key {self.key_path} cannot be read ({error.strerror}): run this as the user of trident serve, or "
                f"set {KEY_VARIABLE}"
            ) from error

    def record(self, event: HistoryEvent) -> None:
        """Append a line to the history; after half a line, which a full disk leaves, a new one."""
        line = json.dumps(asdict(event) | {"at": now()}, ensure_ascii=False).encode() + b"\n"
        with self.history_path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> list[HistoryEvent]:
        """Return the history, oldest first; a line that a full disk cut off is left out."""
        if not self.history_path.is_file():
            return []
        rows = []
        for line in self.history_path.read_text(encoding="utf-8").split("\n"):
            try:
                rows.append(from_table(HistoryEvent, json.loads(line), where=str(self.history_path)))
            except (json.JSONDecodeError, ConfigError):
                continue
        return rows

    @contextmanager
    def lock(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the runtime repository and the state for oneself.

        Raises:
            ServerError: If another process holds them for longer than ``wait_s``.
        """
        deadline = time.monotonic() + wait_s
        with (self.path / ".lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise ServerError(
                            f"another promotion or rollback is under way ({self.path}): wait until it has ended"
                        ) from error
                time.sleep(LOCK_POLL_S)
            yield

    @contextmanager
    def serve_lock(self) -> Iterator[None]:
        """Hold the folder as the one ``trident serve`` of its port; what is in it belongs to who holds this.

        Raises:
            ServerError: If another holds it.
        """
        make_folder(self.path)
        path = self.path / ".serve.lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))  # else removed just now
            except BlockingIOError:
                held = False
            if not held:
                raise ServerError(
                    f"another trident serve has port {self.path.name} ({self.path}): stop it, or choose another with "
                    "--http-port"
                )
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with suppress(OSError):  # nothing has ever served here
                    self.path.rmdir()
                    self.path.parent.rmdir()


def serving_folders(generations: Path) -> list[ServingFolder]:
    """Return the folders of every server that has run over a folder of generations, by port."""
    found = [path for path in (generations / SERVING_FOLDER).glob("*") if path.name.isdigit() and path.is_dir()]
    return [ServingFolder(path) for path in sorted(found, key=lambda path: int(path.name))]


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(path: Path, value: Any) -> None:
    write_text(path, json.dumps(asdict(value), indent=2) + "\n")


def _read(cls: type[T], path: Path) -> T | None:
    try:
        return from_table(cls, json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ConfigError) as error:
        raise ServerError(f"{path} is damaged: {error}; remove it and start trident serve again") from error

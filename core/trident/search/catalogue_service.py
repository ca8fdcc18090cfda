"""What the served model ``catalogue`` does with requests: it checks the key, reads operations, and queues them."""

from __future__ import annotations

import hmac
import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from trident.errors import (
    AwayError,
    DataError,
    FollowsError,
    FullError,
    LiveError,
    LogError,
    StoppedError,
    TridentError,
    UnknownOutcomeError,
    nearest,
)
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.journal.leader import Leader
from trident.journal.published import Published
from trident.live.preparing import LOCK_WAIT_S
from trident.live.writer import Writer, Written
from trident.retrieval.live_retriever import LIVE, LIVE_SERVING

WRITE_KEY_HEADER = "trident-write-key"
FOLLOW = "TRIDENT_LIVE_FOLLOW"  # whether the server follows another one; a variable of the server's process
WRITE, STATS, TAKE_OVER = "write", "stats", "take-over"
ACTIONS = (WRITE, STATS, TAKE_OVER)
OPERATIONS_BYTES = 10_000_000
KINDS = {
    FullError: "RESOURCE_EXHAUSTED",
    AwayError: "UNAVAILABLE",
    StoppedError: "UNAVAILABLE",
    UnknownOutcomeError: "UNKNOWN_OUTCOME",
    FollowsError: "FOLLOWS",
}

Send = Callable[[bytes | TridentError], None]


class WriteKeyError(LiveError):
    """The request does not carry the write key."""


class CatalogueService:
    """The writer behind a key.

    Args:
        folder: Of the live catalogue.
        generations: The folder of generations.
        serving: Says which of them serves.
        follows: Whether another server writes until this one is told to take over.

    Raises:
        LiveError: If another process writes, or the log does not fit the generation that serves.
    """

    def __init__(self, folder: LiveFolder, generations: Path, serving: ServingFolder, *, follows: bool = False) -> None:
        """Take the folder's lock and start the writer, unless another server has them."""
        self.folder, self._generations, self._serving = folder, generations, serving
        self._held = ExitStack()
        self._key = folder.key() if follows else folder.make_key()
        self.writer: Writer | None = None
        leader = Leader.read(folder.path)
        if not follows or (leader is not None and leader.is_at(serving)):  # it took over before it was started again
            self._lead(LOCK_WAIT_S)

    @classmethod
    def from_environment(cls) -> CatalogueService:
        """Return that of the folders that this process is told of."""
        generations = Path(os.environ[LIVE])
        serving = ServingFolder(Path(os.environ[LIVE_SERVING]))
        return cls(LiveFolder.of(generations), generations, serving, follows=bool(os.environ.get(FOLLOW)))

    def take(self, action: NDArray[Any] | None, operations: NDArray[Any] | None, parameters: str, send: Send) -> None:
        """Queue a request; ``send`` is called with the answer, JSON, or with why there is none.

        Args:
            action: ``write``, ``stats`` or ``take-over``.
            operations: What to write: a JSON list.
            parameters: Of the request as Triton hands them over, with the headers that it was told to forward.
            send: Called once, from this thread or the writer's.
        """
        try:
            self._check_key(parameters)
            match _text(action, "action"):
                case "write":
                    text = _text(operations, "operations")
                    if len(text) > OPERATIONS_BYTES:
                        raise DataError(f"operations must be at most {OPERATIONS_BYTES:,} bytes, got {len(text):,}")
                    self._leading().submit(text, lambda answer: send(_result(answer)))
                case "stats":
                    send(json.dumps(self.stats()).encode())
                case "take-over":
                    self.take_over()
                    send(json.dumps(self.stats()).encode())
                case other:
                    raise DataError(f"action must be {', '.join(ACTIONS)}, got '{other}'{nearest(other, ACTIONS)}")
        except TridentError as error:
            send(error)

    def close(self) -> None:
        """End the writer after the group that it is at, and let the folder go."""
        if self.writer is not None:
            self.writer.close()
        self._held.close()

    def stats(self) -> dict[str, object]:
        """Return what ``trident catalogue stats`` shows.

        Raises:
            LiveError: If no generation serves.
        """
        if self.writer is not None:
            return self.writer.stats()
        found, state = Published(self.folder.published).read(), self._serving.state()
        return {
            "number": 0 if found is None else found[0],
            "generation": None if state is None else state.serving,
            "follows": self._leader_address(),
            "log_bytes": self.folder.log_bytes(),
            "attributes": {},
        }

    def take_over(self) -> None:
        """Write from now on.

        Raises:
            FollowsError: If another process still writes.
            LiveError: If the log does not fit the generation that serves.
        """
        if self.writer is None:
            try:
                with self.folder.writing():
                    pass
            except LogError as error:
                raise FollowsError(f"{self._leader_address()} still writes: stop it, then take over") from error
            self._lead(LOCK_WAIT_S)
            leader = Leader.of(self._serving)
            if leader is not None:
                leader.write(self.folder.path)

    def _lead(self, wait_s: float) -> None:
        with ExitStack() as held:
            held.enter_context(self.folder.writing(wait_s=wait_s))
            self.writer = Writer(self.folder, self._generations, self._serving)
            self._held = held.pop_all()

    def _leading(self) -> Writer:
        if self.writer is None:
            raise FollowsError(
                f"nothing was written: this server follows {self._leader_address()}: write there, or have this one "
                "take over (trident catalogue take-over) when that one has ended"
            )
        return self.writer

    def _leader_address(self) -> str:
        leader = Leader.read(self.folder.path)
        return "another server" if leader is None else leader.grpc

    def _check_key(self, parameters: str) -> None:
        sent: dict[str, Any] = json.loads(parameters) if parameters else {}
        keys = [str(value) for name, value in sent.items() if name.lower() == WRITE_KEY_HEADER]
        if not keys:
            raise WriteKeyError(
                f"writing to the catalogue needs the write key, got none: send it as the header {WRITE_KEY_HEADER}"
            )
        if not hmac.compare_digest(keys[0].encode(), self._key.encode()):
            raise WriteKeyError("the write key must be that of the folder of generations, got another: see write-key")


def status_of(error: TridentError) -> tuple[str, str]:
    """Return Triton's status of a refusal, and its text, with a word in front that clients know its kind by."""
    match error:
        case WriteKeyError():
            return "INVALID_ARG", f"PERMISSION_DENIED: {error}"
        case FullError() | AwayError() | StoppedError() | UnknownOutcomeError() | FollowsError():
            return "UNAVAILABLE", f"{KINDS[type(error)]}: {error}"
        case DataError():
            return "INVALID_ARG", str(error)
        case _:
            return "INTERNAL", str(error)


def _result(answer: Written | TridentError) -> bytes | TridentError:
    if isinstance(answer, TridentError):
        return answer
    counts = Counter(answer.outcomes)
    return json.dumps({"number": answer.number, "counts": counts, "outcomes": answer.outcomes}).encode()


def _text(values: NDArray[Any] | None, name: str) -> str:
    if values is None or values.size != 1:
        raise DataError(f"{name} must be one text, got {'none' if values is None else values.size}")
    try:
        text: str = values.reshape(-1)[0].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} must be text in UTF-8, got other bytes ({error})") from error
    return text

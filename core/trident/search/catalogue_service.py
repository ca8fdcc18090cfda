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

from trident.errors import DataError, FullError, LiveError, StoppedError, TridentError, UnknownOutcomeError, nearest
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.live.preparing import LOCK_WAIT_S
from trident.live.writer import Writer, Written
from trident.search.live_retriever import LIVE

LIVE_SERVING = "TRIDENT_LIVE_SERVING"  # the folder with state.json; a variable of the server's process
WRITE_KEY_HEADER = "trident-write-key"
WRITE, STATS = "write", "stats"
OPERATIONS_BYTES = 10_000_000
KINDS = {FullError: "RESOURCE_EXHAUSTED", StoppedError: "UNAVAILABLE", UnknownOutcomeError: "UNKNOWN_OUTCOME"}

Send = Callable[[bytes | TridentError], None]


class WriteKeyError(LiveError):
    """The request does not carry the write key."""


class CatalogueService:
    """The writer behind a key.

    Args:
        folder: Of the live catalogue.
        generations: The folder of generations.
        serving: Says which of them serves.

    Raises:
        LiveError: If another process writes, or the log does not fit the generation that serves.
    """

    def __init__(self, folder: LiveFolder, generations: Path, serving: ServingFolder) -> None:
        """Take the folder's lock and start the writer."""
        self._held = ExitStack()
        self._held.enter_context(folder.writing(wait_s=LOCK_WAIT_S))
        self._key = folder.make_key()
        self.writer = Writer(folder, generations, serving)

    @classmethod
    def from_environment(cls) -> CatalogueService:
        """Return that of the folders that this process is told of."""
        generations = Path(os.environ[LIVE])
        return cls(LiveFolder.of(generations), generations, ServingFolder(Path(os.environ[LIVE_SERVING])))

    def take(self, action: NDArray[Any] | None, operations: NDArray[Any] | None, parameters: str, send: Send) -> None:
        """Queue a request; ``send`` is called with the answer, JSON, or with why there is none.

        Args:
            action: ``write`` or ``stats``.
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
                    self.writer.submit(text, lambda answer: send(_result(answer)))
                case "stats":
                    send(json.dumps(self.writer.stats()).encode())
                case other:
                    raise DataError(f"action must be {WRITE} or {STATS}, got '{other}'{nearest(other, (WRITE, STATS))}")
        except TridentError as error:
            send(error)

    def close(self) -> None:
        """End the writer after the group that it is at, and let the folder go."""
        self.writer.close()
        self._held.close()

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
        case FullError() | StoppedError() | UnknownOutcomeError():
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

"""Promotion and rollback: a running server goes to another generation, or stays with the one it has and says why."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trident.cluster.store import store_of
from trident.errors import ConfigError, GenerationError, ServerError, TridentError
from trident.generation.generation import Generation, generation_by_id
from trident.generation.state import HistoryEvent
from trident.probe.golden_check import answering_generation
from trident.probe.running import RunningServer, find_running
from trident.promotion.switching import switch, unload_others
from trident.quality.gate_report import GateError
from trident.server.live_serving import require_no_log_beyond
from trident.server.runtime_repository import check_configuration, check_identities
from trident.server.second_stage import require_second_stage
from trident.server.serving import require_not_behind, require_stored

log = logging.getLogger(__name__)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOCK_WAIT_S = 60.0  # for another promotion, before old versions are unloaded

# Raises GateError unless (candidate, serving) may be; returns the reason that overruled it, or None.
Gate = Callable[[Generation, Generation], str | None]


@dataclass(frozen=True, kw_only=True)
class PromoteOptions:
    """How to promote."""

    gate: Gate | None = None  # None: no gate, as for a rollback


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A switch that was made and verified."""

    generation: str  # id that serves now
    previous: str  # id that served before
    seconds: float  # from the start to the verified switch
    switch_ms: float  # of the switch itself
    asked: int  # golden queries
    forced: str | None = None  # the reason that overruled the gate


@dataclass
class _Attempt:
    """What is known of a switch so far, for the history."""

    action: str
    target: str
    source: str | None = None
    switch_ms: float | None = None
    forced: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def promote(
    generations: Path, http_port: int, generation: str, options: PromoteOptions, *, report: Callable[[str], None]
) -> Promotion:
    """Return the switch of a running server to another generation, verified from outside.

    After an error the generation that served before serves, or a warning says that it could not be gone back to.

    Args:
        generations: The folder of generations.
        http_port: Of the server.
        generation: The id to serve.
        options: How.
        report: Called with a line for each step.

    Raises:
        GateError: If the gate refuses it.
        GenerationError: If it is unknown, damaged, of another configuration, or answers otherwise than stored.
        ServerError: If no server is ready, another promotion is under way, or the server dies.
    """
    running = _operated(generations, http_port)
    attempt = _Attempt("promote", generation)
    with _recorded(running, attempt):
        with running.folder.lock():  # fail at once when another is under way
            serving = running.serving()
        attempt.source = serving.id
        candidate = _checked(running, serving, generation)
        if options.gate is not None:
            report("asking the gate")
            attempt.forced = options.gate(candidate, serving)
        return _switch(running, serving, candidate, attempt, report)


def rollback(generations: Path, http_port: int, *, report: Callable[[str], None]) -> Promotion:
    """Return the switch of a running server to the generation that served before; as ``promote``, without the gate.

    A second rollback returns to where the first came from.
    """
    running = _operated(generations, http_port)
    with running.folder.lock():
        state = running.state()
    if state.previous is None:
        raise GenerationError(
            f"generation {state.serving} is the first that serves on this port, there is none to go back to: name one "
            "with trident promote ID"
        )
    attempt = _Attempt("rollback", state.previous, source=state.serving)
    with _recorded(running, attempt):
        serving = generation_by_id(generations, state.serving)
        return _switch(running, serving, _checked(running, serving, state.previous), attempt, report)


def check_grace(grace_s: float) -> None:
    """Refuse a time before old versions are unloaded that is none.

    Raises:
        ConfigError: If it is negative or not a number.
    """
    if not grace_s >= 0:
        raise ConfigError(f"--grace must be >= 0 seconds, got {grace_s}")


def retire(generations: Path, http_port: int, *, grace_s: float) -> list[int]:
    """Unload every generation but the serving one, and return their serial numbers.

    Args:
        generations: The folder of generations.
        http_port: Of the server.
        grace_s: Seconds to wait before; a rollback meanwhile needs to load nothing.

    Raises:
        ConfigError: If ``grace_s`` is no time.
        ServerError: If no server is ready, or a promotion is under way for longer than a minute.
    """
    check_grace(grace_s)
    time.sleep(grace_s)
    running = _operated(generations, http_port)
    with running.folder.lock(wait_s=LOCK_WAIT_S):
        return unload_others(running, running.serving())


def _operated(generations: Path, http_port: int) -> RunningServer:
    running = find_running(generations, http_port)
    check_user(running.folder.path)
    return running


def check_user(folder: Path) -> None:
    """Raise unless a server's folder is this user's: the server must be able to remove what is written beside it.

    Raises:
        ServerError: Naming both users.
    """
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise ServerError(
            f"{folder} must be operated by the user of trident serve, {owner}, got user {os.geteuid()}: run this as "
            "that user"
        )


def _checked(running: RunningServer, serving: Generation, generation: str) -> Generation:
    candidate = generation_by_id(running.generations, generation)
    if candidate.id == serving.id:
        raise GenerationError(f"generation {candidate.id} is serving already")
    candidate.verify_files()
    check_identities(candidate)
    record = running.record
    require_stored(candidate, cache=record.cache)
    if not record.live and store_of(serving) is not None:  # which has what came since; the candidate may not
        require_no_log_beyond(running.generations, candidate)
        require_not_behind(candidate, serving)
    check_configuration(running.folder.models, candidate, variant=record.variant, tuning=record.tuning)
    require_second_stage(candidate, variant=record.variant, cache=record.cache)
    return candidate


def _switch(
    running: RunningServer,
    serving: Generation,
    candidate: Generation,
    attempt: _Attempt,
    report: Callable[[str], None],
) -> Promotion:
    report(f"loading generation {candidate.id} beside {serving.id}")
    with running.folder.lock():
        now_serving = running.state().serving
        if now_serving != serving.id:
            raise GenerationError(
                f"generation {serving.id} served when {attempt.action} began, now {now_serving} does: try again"
            )
        made = switch(running, serving, candidate)
    attempt.switch_ms = made.switch_ms
    return Promotion(
        generation=candidate.id,
        previous=serving.id,
        seconds=attempt.seconds,
        switch_ms=made.switch_ms,
        asked=made.asked,
        forced=attempt.forced,
    )


@contextmanager
def _recorded(running: RunningServer, attempt: _Attempt) -> Iterator[None]:
    """Record how an attempt ends, and name what cannot be written."""
    try:
        yield
    except GateError as error:
        _record(running, attempt, "refused", str(error))
        raise
    except TridentError as error:
        _record(running, attempt, "failed", str(error))
        raise
    except OSError as error:
        remedy = "free some space; " if error.errno in NO_SPACE else ""
        where = error.filename or running.folder.path
        message = f"{where} cannot be written ({error.strerror}): {remedy}{_who_serves(running)}"
        _record(running, attempt, "failed", message)
        raise ServerError(message) from error
    except KeyboardInterrupt:
        _record(running, attempt, "failed", "interrupted")
        raise
    _record(running, attempt, "done", None)


def _who_serves(running: RunningServer) -> str:
    try:
        return f"generation {answering_generation(running.control.url)} serves"
    except ServerError as error:
        return str(error)


def _record(running: RunningServer, attempt: _Attempt, outcome: str, reason: str | None) -> None:
    event = HistoryEvent(
        action=attempt.action,
        outcome=outcome,
        source=attempt.source,
        target=attempt.target,
        seconds=round(attempt.seconds, 3),
        switch_ms=attempt.switch_ms,
        forced=attempt.forced,
        reason=reason,
    )
    try:
        running.folder.record(event)
    except OSError as error:  # the switch counts, or the reason for which there was none
        log.warning("%s cannot be written: %s", running.folder.history_path, error.strerror)

"""Switches a running server to another generation: promotion and rollback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trident.generation import Generation


class GateOutcome(Protocol):
    """What a gate found; ``trident.gate.GateReport`` is one."""

    @property
    def passed(self) -> bool:
        """Whether the candidate may serve."""
        ...


Gate = Callable[[Generation, Generation | None], GateOutcome]  # (candidate, serving)


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A switch that was made and verified."""

    generation: str  # id that serves now
    previous: str | None  # id that served before
    seconds: float  # from the start to the verified switch
    switch_ms: float  # of the switch itself
    asked: int  # golden queries


def promote(
    generations: Path,
    http_port: int,
    generation: str,
    *,
    gate: Gate | None = None,
    force: str | None = None,
    keep: bool = False,
    grace_s: float = 10.0,
) -> Promotion:
    """Return the switch of a running server to another generation."""
    raise NotImplementedError

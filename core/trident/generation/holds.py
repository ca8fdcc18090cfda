"""How far a generation goes in a log of the live catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Position:
    """A number of a log; it says something only together with the log and the epoch that it was given in.

    Attributes:
        log: The log's id.
        epoch: The epoch of the number.
        branch: Its branch.
        number: Of the last operation that is in the generation.
    """

    log: str
    epoch: int
    branch: str
    number: int

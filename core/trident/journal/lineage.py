"""Which log a number is of: its random id, its epoch, and where earlier epochs ended. Pure.

Two logs count from 1 alike, and a log that was restored from a backup gives numbers out for a second time. A number
says something only together with the log and the epoch that it was given in.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from typing import Any

from trident.config import from_table
from trident.errors import ConfigError, LogError
from trident.generation.holds import Position


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A stretch of a log that one line of writers wrote.

    Attributes:
        number: Counts from 1.
        branch: Random: two restorations of one backup are two epochs of the same number.
        after: The last number before it.
    """

    number: int
    branch: str
    after: int


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A log's id and its epochs, the present one last."""

    log: str
    epochs: tuple[Epoch, ...]

    @classmethod
    def begin(cls) -> Lineage:
        """Return that of a new log."""
        return cls(log=secrets.token_hex(16), epochs=(Epoch(number=1, branch=secrets.token_hex(8), after=0),))

    def restored(self, last: int) -> Lineage:
        """Return that of the log after a backup that ends with ``last`` was restored."""
        epoch = Epoch(number=self.epochs[-1].number + 1, branch=secrets.token_hex(8), after=last)
        return replace(self, epochs=(*self.epochs, epoch))

    def position(self, number: int) -> Position:
        """Return a number of the log, with the epoch that it was given in."""
        epoch = next(epoch for epoch in reversed(self.epochs) if number >= epoch.after)
        return Position(log=self.log, epoch=epoch.number, branch=epoch.branch, number=number)

    def fault(self, position: Position) -> str | None:
        """Return why a position is none of this log; None where it is one."""
        if position.log != self.log:
            return f"it goes as far as number {position.number:,} of log {position.log}, and this is log {self.log}"
        for place, epoch in enumerate(self.epochs):
            if (epoch.number, epoch.branch) == (position.epoch, position.branch):
                ends = self.epochs[place + 1].after if place + 1 < len(self.epochs) else None
                if ends is None or position.number <= ends:
                    return None
                return (
                    f"it goes as far as number {position.number:,} of epoch {position.epoch}, which this log left at "
                    f"{ends:,} when a backup was restored"
                )
        return f"it goes as far as number {position.number:,} of epoch {position.epoch}, which this log never had"

    def encode(self) -> bytes:
        """Return it as the record that a segment begins with."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, record: bytes) -> Lineage:
        """Return what ``encode`` made a record of.

        Raises:
            LogError: If it is none.
        """
        try:
            table: Any = json.loads(record)
            epochs = tuple(from_table(Epoch, each, where="a segment") for each in table["epochs"])
            return cls(log=str(table["log"]), epochs=epochs)
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise LogError(
                f"what a segment of the log belongs to cannot be read ({error}): restore a backup"
            ) from error

"""What the gate says: its checks, a report of them, and the refusal; light to import, unlike the gate itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trident.config import to_table
from trident.errors import TridentError


@dataclass(frozen=True, kw_only=True)
class GateCheck:
    """One check; ``rule`` says in words what ``value`` is and what it must be.

    ``low`` and ``high`` are the ends of the 95% interval of a change, ``candidate`` and ``serving`` the figures that
    were compared; None where there is no such thing.
    """

    name: str
    rule: str
    value: float
    bound: float
    passed: bool
    low: float | None = None
    high: float | None = None
    candidate: float | None = None
    serving: float | None = None

    def line(self) -> str:
        """Return name, rule and value in one line."""
        interval = "" if self.low is None or self.high is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.name}: {self.rule}, got {self.value:.4g}{interval}"


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """What a candidate was held against, check by check."""

    candidate: str  # id
    serving: str | None  # id; None where nothing was there to compare with
    measured_at: str  # ISO 8601, UTC
    checks: tuple[GateCheck, ...]
    notes: tuple[str, ...]  # what could not be checked, and why
    config: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures()

    def failures(self) -> tuple[GateCheck, ...]:
        """Return the checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def refusal(self) -> str:
        """Return the failures in one line."""
        against = "by itself" if self.serving is None else f"against {self.serving}"
        lines = "; ".join(check.line() for check in self.failures())
        return f"the gate refuses generation {self.candidate}, judged {against}: {lines}"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types, with ``passed``."""
        return {"passed": self.passed, **to_table(self)}


class GateError(TridentError):
    """A generation must not take over: a check of the gate failed; ``report`` has the numbers."""

    def __init__(self, message: str, report: GateReport) -> None:
        """Keep the report beside the message."""
        super().__init__(message)
        self.report = report

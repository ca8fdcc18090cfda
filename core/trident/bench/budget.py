"""The budget of serving: bounds on ratios to the yardstick of the same run, never on times.

# bench/budget.toml
tolerance = 0.15                 # the share of a bound that a change may lose

[[bound]]
figure = "throughput_ratio"      # a figure of trident.bench.figures.Row
protocol = "grpc"
clients = 32
at_least = 0.8                   # or at_most
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.bench.figures import Row
from trident.config import from_table
from trident.errors import BenchError, ConfigError

FIGURES = ("throughput_ratio", "p50_ratio", "cpu_ratio", "mean_encoder_batch")


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What one figure under one load must keep."""

    figure: str  # one of FIGURES
    protocol: str
    clients: int
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Check the figure and that there is one bound."""
        if self.figure not in FIGURES:
            raise ConfigError(f"figure must be one of {', '.join(FIGURES)}, got '{self.figure}'")
        if (self.at_least is None) == (self.at_most is None):
            raise ConfigError(f"a bound on {self.figure} must be at_least or at_most, one of them")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """All bounds, and how much of one may be lost."""

    tolerance: float
    taken: str  # day and machine on which the bounds were measured
    bound: tuple[Bound, ...]

    def __post_init__(self) -> None:
        """Check the tolerance."""
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"tolerance must be 0 to below 1, got {self.tolerance}")
        if not self.bound:
            raise ConfigError("a budget must have at least one [[bound]]")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bound held against what was measured."""

    bound: Bound
    limit: float  # with the tolerance
    measured: float
    kept: bool

    def __str__(self) -> str:
        """Return such as ``throughput_ratio, grpc, 32 clients: 0.612 must be at least 0.680 (0.8 less 15%)``."""
        bound = self.bound
        word, given = ("least", bound.at_least) if bound.at_least is not None else ("most", bound.at_most)
        return (
            f"{bound.figure}, {bound.protocol}, {bound.clients} clients: {self.measured:.3f} must be at {word} "
            f"{self.limit:.3f} ({given:g} and the tolerance)"
        )


def load_budget(path: Path) -> Budget:
    """Read a budget.

    Raises:
        ConfigError: If it is missing, no TOML, or breaks a rule.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"budget {path} cannot be read: {error}") from error
    return from_table(Budget, table, where=f"budget {path}")


def check_budget(budget: Budget, rows: Sequence[Row], *, subject: str) -> list[Verdict]:
    """Return a verdict for each bound.

    Raises:
        BenchError: If a bound's load was not measured: a budget that is not asked is not kept.
    """
    verdicts = []
    for bound in budget.bound:
        found = [
            row
            for row in rows
            if (row.subject, row.protocol, row.load.clients) == (subject, bound.protocol, bound.clients)
        ]
        measured = getattr(found[0], bound.figure) if found else None
        if measured is None:
            raise BenchError(
                f"the budget bounds {bound.figure} with {bound.protocol} and {bound.clients} clients, which was not "
                f"measured: add --protocol {bound.protocol} and {bound.clients} to --clients"
            )
        if bound.at_least is not None:
            limit = bound.at_least * (1 - budget.tolerance)
            kept = measured >= limit
        else:
            assert bound.at_most is not None
            limit = bound.at_most * (1 + budget.tolerance)
            kept = measured <= limit
        verdicts.append(Verdict(bound=bound, limit=limit, measured=measured, kept=kept))
    return verdicts

"""What the gate demands of a generation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from trident.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What is demanded."""

    quality_tolerance: float = 0.005  # that the 95% interval of a change of quality may lie below zero
    recall_target: float = 0.95  # recall@10 of the index at the ef that serves, against exact search
    overlap_target: float = 0.9  # of the ten best products as served with those of float32 and exact search
    latency_ratio: float = 2.0  # median latency of a query, to the serving generation's in the same run
    latency_budget_ms: float | None = None  # median latency of a query; None: no absolute budget
    queries: int = 500  # held-out queries asked, and judged with all their pairs, at most
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)  # of ONNX Runtime, where many texts are embedded

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("recall_target", "overlap_target"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"gate.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.quality_tolerance < 0:
            raise ConfigError(f"gate.quality_tolerance must be >= 0, got {self.quality_tolerance}")
        if self.latency_ratio <= 0:
            raise ConfigError(f"gate.latency_ratio must be > 0, got {self.latency_ratio}")
        if self.latency_budget_ms is not None and self.latency_budget_ms <= 0:
            raise ConfigError(f"gate.latency_budget_ms must be > 0, got {self.latency_budget_ms}")
        for name in ("queries", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gate.{name} must be >= 1, got {getattr(self, name)}")

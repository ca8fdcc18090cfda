"""The gate as a promotion asks it: judged, kept in the manifest, refused with its numbers in ``refusal.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.config import apply_override, from_table
from trident.generation.generation import Generation
from trident.generation.state import ServingFolder
from trident.promotion.promotion import Gate
from trident.quality.config import GateConfig
from trident.quality.gate import check_reason, record_gate, require, run_gate


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What ``--set`` can change."""

    gate: GateConfig = field(default_factory=GateConfig)


def gate_of(generations: Path, http_port: int, *, overrides: Sequence[str], force: str | None) -> Gate:
    """Return the gate of a server: it refuses, or lets through what passed or is overruled for a reason.

    Args:
        generations: The folder of generations.
        http_port: Of the server; ``refusal.json`` is written beside its state.
        overrides: Items such as ``"gate.latency_ratio=3"``.
        force: The reason to overrule; None overrules nothing.

    Raises:
        ConfigError: If a setting is unknown or breaks a rule, or the reason is empty.
    """
    check_reason(force)
    table: dict[str, Any] = {}
    for override in overrides:
        apply_override(table, override)
    config = from_table(_Settings, table, where="--set").gate
    refusal_path = ServingFolder.of(generations, http_port).refusal_path

    def gate(candidate: Generation, serving: Generation) -> str | None:
        report = run_gate(candidate, serving, config)
        require(report, refusal_path=refusal_path, force=force)
        record_gate(candidate, report, by="promote", force=force)
        return None if report.passed else force

    return gate

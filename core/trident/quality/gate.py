"""The gate: what a generation must prove before it takes over from the one that is serving.

Absolute checks are made of every candidate; those against the serving generation where there is one. What a refusal
measured is written to ``refusal.json``; what was measured of a generation that is let through, into its manifest.

    report = run_gate(candidate, serving, GateConfig())
    require(report, refusal_path=generations / REFUSAL_FILE, force=None)
    candidate = record_gate(candidate, report, by="promote", force=None)
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from trident.config import to_table
from trident.errors import ConfigError
from trident.generation.generation import MANIFEST_FILE, Generation
from trident.generation.staging import write_beside, write_text
from trident.quality.checks import absolute_checks, checks_against
from trident.quality.config import GateConfig
from trident.quality.gate_report import GateError, GateReport
from trident.quality.generation_scores import LoadedGeneration

REFUSAL_FILE = "refusal.json"


def run_gate(candidate: Generation, serving: Generation | None, config: GateConfig) -> GateReport:
    """Return what a candidate proves, alone and against the generation that is serving.

    Both are loaded into this process and asked in it; files are not checked against the manifests.

    Args:
        candidate: The generation that is to take over; it needs no manifest on disk.
        serving: The one that it would take over from; None makes the absolute checks only.
        config: What is demanded.

    Raises:
        TridentError: If a part of either is missing, damaged or of another encoder.
    """
    new = LoadedGeneration.load(candidate, threads=config.threads)
    checks, notes = absolute_checks(new, config)
    if serving is None:
        notes.append("no generation is serving: quality and latency were compared with none")
    else:
        more, more_notes = checks_against(new, LoadedGeneration.load(serving, threads=config.threads), config)
        checks, notes = checks + more, notes + more_notes
    return GateReport(
        candidate=candidate.id,
        serving=None if serving is None else serving.id,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        checks=tuple(checks),
        notes=tuple(notes),
        config=to_table(config),
    )


def check_reason(force: str | None) -> None:
    """Refuse an empty reason; None, which forces nothing, is right.

    Raises:
        ConfigError: If the reason is empty.
    """
    if force is not None and not force.strip():
        raise ConfigError("--force needs a reason, which is kept in the manifest, got an empty one")


def require(report: GateReport, *, refusal_path: Path, force: str | None) -> None:
    """Write ``refusal.json`` and raise unless the report passed or there is a reason to overrule it.

    Raises:
        ConfigError: If the reason is empty.
        GateError: If a check failed and nothing overrules it; it carries the report.
    """
    check_reason(force)
    if report.passed or force is not None:
        return
    save_refusal(report, refusal_path)
    raise GateError(f'{report.refusal()}; numbers in {refusal_path}; --force "reason" overrules', report)


def save_refusal(report: GateReport, path: Path) -> None:
    """Write all numbers of a report as JSON; a reader sees the last refusal or this one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _json(report.to_json()))


def gate_entry(report: GateReport, *, by: Literal["export", "promote"], force: str | None) -> dict[str, Any]:
    """Return what a manifest's ``gate`` keeps of a report; ``forced`` is the reason where one was needed."""
    check_reason(force)
    return {"by": by, "forced": None if report.passed else force, **report.to_json()}


def record_gate(
    generation: Generation, report: GateReport, *, by: Literal["export", "promote"], force: str | None
) -> Generation:
    """Add a report to the ``gate`` list of a generation's manifest on disk, and return the generation with it.

    The rest of the manifest stays as it is, and so does the id. A kill leaves the old manifest or the new one.

    Raises:
        ConfigError: If the reason is empty.
        GenerationError: If the manifest is missing or damaged.
    """
    entry = gate_entry(report, by=by, force=force)
    Generation.load(generation.folder)  # names what is wrong with it
    path = generation.folder / MANIFEST_FILE
    table = json.loads(path.read_text(encoding="utf-8"))
    table["gate"] = [*table.get("gate", []), entry]
    # beside the generation: a file that a kill left inside it would be unknown to the manifest
    staging = generation.folder.with_name(f".{generation.id}.{MANIFEST_FILE}.{os.getpid()}")
    write_beside(path, _json(table), staging=staging)
    return Generation.load(generation.folder)


def _json(table: Any) -> str:
    return json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

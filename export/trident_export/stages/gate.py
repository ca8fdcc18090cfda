"""The stage that holds a finished generation against the one that is serving, before it appears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trident.errors import FormatError
from trident.generation.generation import FORMAT, Generation, Manifest
from trident.quality.baseline import baseline
from trident.quality.gate import REFUSAL_FILE, gate_entry, require, run_gate
from trident.quality.gate_report import GateCheck
from trident_export.job import ExportJob


def pass_gate(job: ExportJob, manifest: Manifest) -> Manifest:
    """Return the manifest with what the gate measured.

    Args:
        job: Its folder holds the generation, assembled and without a manifest; ``refusal.json`` goes to its output.
        manifest: What the manifest will say otherwise.

    Raises:
        GateError: If a check fails and nothing overrules it.
    """
    output, config, force = job.order.output, job.config, job.order.force
    with job.stages.stage("gate") as notes:
        serving, unread = _serving(output)
        demands = replace(config.gate, threads=min(config.gate.threads, config.threads))
        report = run_gate(Generation(job.folder, manifest), serving, demands)
        report = replace(report, checks=(*report.checks, *unread))
        require(report, refusal_path=output / REFUSAL_FILE, force=force)
        passed = f"{len(report.checks)} checks passed" if report.passed else f"forced: {force}; {report.refusal()}"
        notes.proof = passed + (", nothing to compare with" if serving is None else f", against {serving.id}")
    return replace(manifest, gate=[gate_entry(report, by="export", force=force)])


def require_comparable(output: Path, *, force: str | None) -> None:
    """Refuse before any work to export beside a serving generation of another version of Trident.

    Raises:
        FormatError: If there is one and no reason to overrule the gate.
        TridentError: If a manifest or a state is damaged.
    """
    _, unread = _serving(output)
    if unread and force is None:
        raise FormatError(
            f"the gate cannot compare with what serves from {output}: {unread[0].rule}; export into another folder, "
            'or overrule with --force "reason"',
            int(unread[0].value),
        )


def _serving(output: Path) -> tuple[Generation | None, list[GateCheck]]:
    """Return what serves from a folder, or the failed check that says why it cannot be asked."""
    try:
        return baseline(output), []
    except FormatError as error:
        rule = str(error).removesuffix(": export again")
        return None, [GateCheck(name="format", rule=rule, value=error.made_in, bound=FORMAT, passed=False)]

"""The stage that holds a finished generation against the one that is serving, before it appears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trident.generation.generation import Generation, Manifest
from trident.quality.baseline import baseline
from trident.quality.gate import REFUSAL_FILE, gate_entry, require, run_gate
from trident_export.config import ExportConfig
from trident_export.progress_rows import Stages


def pass_gate(
    stages: Stages, folder: Path, manifest: Manifest, output: Path, config: ExportConfig, *, force: str | None
) -> Manifest:
    """Return the manifest with what the gate measured.

    Args:
        stages: Takes the row of this stage.
        folder: Of the generation, assembled and without a manifest.
        manifest: What the manifest will say otherwise.
        output: The folder of generations; ``refusal.json`` goes there.
        config: What is demanded stands under ``gate``.
        force: Why a refusal is overruled; None: it is not.

    Raises:
        GateError: If a check fails and nothing overrules it.
    """
    with stages.stage("gate") as notes:
        serving = baseline(output)
        demands = replace(config.gate, threads=min(config.gate.threads, config.threads))
        report = run_gate(Generation(folder, manifest), serving, demands)
        require(report, refusal_path=output / REFUSAL_FILE, force=force)
        passed = f"{len(report.checks)} checks passed" if report.passed else f"forced: {force}; {report.refusal()}"
        notes.proof = passed + (", nothing to compare with" if serving is None else f", against {serving.id}")
    return replace(manifest, gate=[gate_entry(report, by="export", force=force)])

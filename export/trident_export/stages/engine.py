"""The stage that builds the TensorRT plan of an export, where the export is told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.encoder.base_model import file_sha256
from trident.encoder.graph_files import GRAPH_FILES
from trident.generation.generation import ENGINES_FOLDER
from trident.generation.plan import PLAN_FILE, PlanManifest, check_plan, find_gpu
from trident_export.engine.engine import PlanSettings, build_plan
from trident_export.engine.profiles import Profile
from trident_export.job import ExportJob


def export_engine(job: ExportJob, profiles: Sequence[Profile]) -> PlanManifest | None:
    """Build the plan of a graph among the parts, and return its manifest; None where none is wanted.

    Raises:
        MissingExtraError: If the library is not installed.
        ExportError: If the graph cannot be built.
    """
    config = job.config.engine
    if config.library is None:
        return None
    with job.stages.stage("engine") as notes:
        plan = _file(job)
        plan.parent.mkdir(parents=True)
        manifest = build_plan(
            job.parts / GRAPH_FILES[config.precision],
            plan,
            profiles,
            PlanSettings(config.library, config.precision, config.options),
        )
        notes.path = plan
        target = manifest.gpu or f"compute capabilities {', '.join(manifest.compute_capabilities)}"
        notes.proof = (
            f"{manifest.library} {manifest.version} compiled {manifest.precision} for {target}: "
            f"{', '.join(map(str, profiles))}"
        )
    return manifest


def place_engine(job: ExportJob, manifest: PlanManifest) -> None:
    """Check the plan again, as it will be when it is loaded, and move it into the generation's folder.

    Raises:
        GenerationError: If it is not the one that was built.
    """
    check_plan(
        _file(job),
        onnx_sha256=file_sha256(job.parts / GRAPH_FILES[job.config.engine.precision]),
        library=manifest.library,
        version=manifest.version,
        gpu=None if manifest.gpu is None else find_gpu(),
    )
    (job.parts / ENGINES_FOLDER).rename(job.folder / ENGINES_FOLDER)


def _file(job: ExportJob) -> Path:
    config = job.config.engine
    return job.parts / ENGINES_FOLDER / str(config.library) / config.precision / PLAN_FILE

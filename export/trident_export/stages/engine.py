"""The stage that builds the TensorRT plan of an export, where the export is told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.encoder.base_model import file_sha256
from trident.encoder.graph_files import GRAPH_FILES
from trident.generation.generation import ENGINES_FOLDER
from trident.generation.plan import PLAN_FILE, PlanManifest, check_plan, find_gpu
from trident_export.config import EngineConfig
from trident_export.engine.engine import build_plan
from trident_export.engine.profiles import Profile
from trident_export.progress_rows import Stages


def export_engine(
    stages: Stages, parts: Path, profiles: Sequence[Profile], config: EngineConfig
) -> PlanManifest | None:
    """Build the plan of a graph among the parts, and return its manifest; None where none is wanted.

    Raises:
        MissingExtraError: If the library is not installed.
        ExportError: If the graph cannot be built.
    """
    if config.library is None:
        return None
    with stages.stage("engine") as notes:
        plan = _file(parts, config)
        plan.parent.mkdir(parents=True)
        manifest = build_plan(
            parts / GRAPH_FILES[config.precision],
            plan,
            profiles,
            library=config.library,
            precision=config.precision,
            options=config.options,
        )
        notes.path = plan
        target = manifest.gpu or f"compute capabilities {', '.join(manifest.compute_capabilities)}"
        notes.proof = (
            f"{manifest.library} {manifest.version} compiled {manifest.precision} for {target}: "
            f"{', '.join(map(str, profiles))}"
        )
    return manifest


def place_engine(folder: Path, parts: Path, manifest: PlanManifest, config: EngineConfig) -> None:
    """Check the plan again, as it will be when it is loaded, and move it into the generation's folder.

    Raises:
        GenerationError: If it is not the one that was built.
    """
    plan = _file(parts, config)
    check_plan(
        plan,
        onnx_sha256=file_sha256(parts / GRAPH_FILES[config.precision]),
        library=manifest.library,
        version=manifest.version,
        gpu=None if manifest.gpu is None else find_gpu(),
    )
    (parts / ENGINES_FOLDER).rename(folder / ENGINES_FOLDER)


def _file(parts: Path, config: EngineConfig) -> Path:
    return parts / ENGINES_FOLDER / str(config.library) / config.precision / PLAN_FILE

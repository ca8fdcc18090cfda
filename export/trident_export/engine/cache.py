"""Plans that are built once and kept, by graph, library, GPU, profiles and options."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trident.errors import GenerationError, TridentError
from trident.generation.plan import PLAN_FILE, Gpu, PlanManifest, check_plan, find_gpu, plans_of
from trident.generation.staging import staged_folder
from trident_export.engine.engine import PlanSettings, build_plan, describe_plan
from trident_export.engine.profiles import Profile


@dataclass(frozen=True)
class CachedPlan:
    """A plan in the cache."""

    path: Path
    manifest: PlanManifest
    built: bool  # now; False: it was there


def cached_plan(onnx: Path, cache: Path, profiles: Sequence[Profile], settings: PlanSettings) -> CachedPlan:
    """Return the plan of a graph for the library and GPU that are here, built if the cache has none that is whole.

    Two builders at once build once: the cache is locked while one builds. A failed build leaves no file.

    Raises:
        MissingExtraError: If the library is not installed.
        ConfigError: If the library does not have an option.
        ExportError: If the graph cannot be built.
        TridentError: If the cache cannot be written.
    """
    here = describe_plan(onnx, profiles, settings)
    folder = plans_of(cache, settings.library, here.onnx_sha256) / here.identity[:32]
    with _locked(folder.parent):
        if folder.exists():
            try:
                found = check_plan(
                    folder / PLAN_FILE,
                    onnx_sha256=here.onnx_sha256,
                    library=settings.library,
                    version=here.version,
                    gpu=here.gpu,
                )
                return CachedPlan(folder / PLAN_FILE, found, built=False)
            except GenerationError:
                pass  # cut off or changed: built again below
        with staged_folder(folder, overwrite=True) as staging:
            manifest = build_plan(
                onnx,
                staging / PLAN_FILE,
                profiles,
                settings,
                timing_cache=folder.parents[1] / _timing_name(here.version, find_gpu()),
            )
    return CachedPlan(folder / PLAN_FILE, manifest, built=True)


def _timing_name(version: str, gpu: Gpu | None) -> str:
    """Return the file of what a version of the library measured on a GPU; another one's would be of no use."""
    return hashlib.sha256(f"{version}:{gpu}".encode()).hexdigest()[:32] + ".timing"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise TridentError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # on the folder itself: no lock file stays behind
        yield
    finally:
        os.close(descriptor)

"""A TensorRT plan and what it is of: ``model.plan`` with ``model.plan.json`` beside it.

A plan runs on the TensorRT version that built it and on the kind of GPU that it was built for, and answers as the graph
that it was built from. Loaded elsewhere it fails late; of another graph, it answers fluently and wrongly.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trident.config import from_table, to_table
from trident.encoder.base_model import file_sha256
from trident.errors import ConfigError, GenerationError, MissingExtraError
from trident.generation.generation import ENGINES_FOLDER, Generation
from trident.generation.staging import write_text

Library = Literal["tensorrt", "tensorrt_rtx"]
PLAN_FILE = "model.plan"
PLAN_PRECISIONS = ("fp16", "fp32")  # of graphs that plans are built from; one of the first is served if it is there
DEFAULT_CACHE = Path("~/.cache/trident/plans")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as plans see it."""

    name: str
    compute_capability: str  # such as 9.0

    def __str__(self) -> str:
        """Return both."""
        return f"{self.name} (compute capability {self.compute_capability})"


@dataclass(frozen=True, kw_only=True)
class PlanManifest:
    """What a plan is of."""

    library: Library
    version: str  # of the library
    precision: str  # of the graph
    onnx_sha256: str
    plan_sha256: str
    size_bytes: int
    compute_capabilities: tuple[str, ...]  # that it runs on, such as 8.6; 8.0+ is 8.0 and later
    gpu: Gpu | None  # that it was built on and is bound to; None: bound to the compute capabilities only
    profiles: tuple[dict[str, Any], ...]  # name, and min, opt and max, each (rows, tokens)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """SHA-256 of what the plan is made of, not of its bytes: a library may build the same plan to other bytes."""
        made_of = {name: value for name, value in to_table(self).items() if name not in ("plan_sha256", "size_bytes")}
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def runs_on(self, gpu: Gpu) -> bool:
        """Return whether a GPU has one of the compute capabilities."""
        have = numbers(gpu.compute_capability)
        return any(
            have >= numbers(each) if each.endswith("+") else have == numbers(each) for each in self.compute_capabilities
        )

    def save(self, plan: Path) -> None:
        """Write the manifest beside its plan."""
        write_text(manifest_path(plan), json.dumps(to_table(self), indent=2) + "\n")


def manifest_path(plan: Path) -> Path:
    """Return where the manifest of a plan is."""
    return plan.with_name(plan.name + ".json")


def plans_of(cache: Path, library: Library, onnx_sha256: str) -> Path:
    """Return the folder of a cache that holds a library's plans of a graph, one folder a plan."""
    return cache.expanduser() / library / onnx_sha256[:32]


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version or a compute capability, such as (8, 6)."""
    return tuple(map(int, re.findall(r"\d+", version)))


def find_gpu() -> Gpu | None:
    """Return the first GPU of this machine, None without one."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, capability = output.partition("\n")[0].rpartition(",")
    return Gpu(name=name.strip(), compute_capability=capability.strip()) if name else None


def load_library(name: Library) -> Any:
    """Return the module of a library.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = (
            "run pip install 'trident-search[tensorrt]'"
            if name == "tensorrt_rtx"
            else "it comes from NVIDIA, in the version of the Triton image that serves the plan"
        )
        raise MissingExtraError(f"a plan of {name} needs the Python module {name}: {hint}") from error


def build_command(
    generation: Path | str, library: Library, *, precision: str = PLAN_PRECISIONS[0], cache: Path = DEFAULT_CACHE
) -> str:
    """Return the command that builds a plan of the generation in a folder, where ``trident serve`` looks for it."""
    words = ["trident", "engine", str(generation), "--library", library]
    if precision != PLAN_PRECISIONS[0]:
        words += ["--precision", precision]
    if cache != DEFAULT_CACHE:
        words += ["--cache", str(cache)]
    return shlex.join(words)


def check_plan(
    plan: Path, *, onnx_sha256: str, library: Library, version: str, gpu: Gpu | None, rebuild: str | None = None
) -> PlanManifest:
    """Return the manifest of a plan that fits this machine and graph.

    Args:
        plan: The plan.
        onnx_sha256: Of the graph that it must be of.
        library: That will load it.
        version: Of that library.
        gpu: That will run it; None: this machine has none, and a plan that is bound to a GPU does not fit.
        rebuild: The command in errors; None: without the generation's name.

    Raises:
        GenerationError: If the plan is missing, damaged, or of another graph, library, version or GPU; the message has
            both sides and the command that rebuilds it.
    """
    again = f"build it again: {rebuild or build_command('GENERATION', library)}"
    try:
        table = json.loads(manifest_path(plan).read_text(encoding="utf-8"))
        manifest: PlanManifest = from_table(PlanManifest, table, where=str(manifest_path(plan)))
        size = plan.stat().st_size
    except (OSError, ValueError, ConfigError) as error:
        raise GenerationError(f"plan {plan} is missing or damaged ({error}); {again}") from error
    if size != manifest.size_bytes:
        raise GenerationError(
            f"plan {plan} was built with {manifest.size_bytes:,} bytes, it has {size:,} bytes: cut off; {again}"
        )
    found = file_sha256(plan)
    if found != manifest.plan_sha256:
        raise GenerationError(
            f"plan {plan} was built with SHA-256 {manifest.plan_sha256[:16]}, it has {found[:16]}: changed; {again}"
        )
    if manifest.onnx_sha256 != onnx_sha256:
        raise GenerationError(
            f"plan {plan} was built from graph {manifest.onnx_sha256[:16]}, here is {onnx_sha256[:16]}; {again}"
        )
    if (manifest.library, manifest.version) != (library, version):
        raise GenerationError(
            f"plan {plan} was built by {manifest.library} {manifest.version}, here is {library} {version}; {again}"
        )
    if manifest.gpu is not None and manifest.gpu != gpu:
        raise GenerationError(f"plan {plan} was built for {manifest.gpu}, here is {gpu or 'no GPU'}; {again}")
    if gpu is not None and not manifest.runs_on(gpu):
        fits = ", ".join(manifest.compute_capabilities)
        raise GenerationError(f"plan {plan} was built for compute capabilities {fits}, here is {gpu}; {again}")
    return manifest


def served_plan(generation: Generation, cache: Path = DEFAULT_CACHE, *, library: Library = "tensorrt") -> Path:
    """Return a plan of a generation that fits the library and the GPU that are here, and that can be served.

    Looked for in the generation itself, then in the cache of ``trident engine``; one of the float16 graph comes first.

    Args:
        generation: What is to be served.
        cache: The folder of ``trident engine``.
        library: That will load the plan; Triton's backend is ``tensorrt``.

    Raises:
        GenerationError: If there is none, or none that fits; the message says why and has the command that builds one.
        MissingExtraError: If there are plans, but not the library, so that its version is not known.
    """
    found: dict[Path, tuple[str, str]] = {}  # plan -> SHA-256 of the graph that it must be of, command that rebuilds it
    commands = []
    for precision in PLAN_PRECISIONS:
        if not (graph := generation.graph(precision)).is_file():
            continue
        sha256 = file_sha256(graph)
        commands.append(build_command(generation.folder, library, precision=precision, cache=cache))
        own = generation.folder / ENGINES_FOLDER / library / precision / PLAN_FILE
        kept = sorted(plans_of(cache, library, sha256).glob(f"*/{PLAN_FILE}"))
        found |= dict.fromkeys([own, *kept] if own.is_file() else kept, (sha256, commands[-1]))
    if not found:
        raise GenerationError(
            f"generation {generation.id} has no plan of {library}, neither in its folder nor in {cache}: "
            f"build it: {commands[0]}"
        )
    version, gpu = str(load_library(library).__version__), find_gpu()
    refusals = []
    for plan, (sha256, command) in found.items():
        try:
            check_plan(plan, onnx_sha256=sha256, library=library, version=version, gpu=gpu, rebuild=command)
        except GenerationError as error:
            refusals.append(error)
        else:
            return plan
    raise refusals[0]

"""Builds a TensorRT plan from an ONNX graph, with ``tensorrt`` or with ``tensorrt_rtx``, which share an interface.

``tensorrt`` builds for the GPU that is there, in the image whose Triton loads the plan. ``tensorrt_rtx`` needs no GPU:
it proves anywhere that graph, precision and profiles compile. Triton does not load its plans.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trident.config import to_table
from trident.encoder.base_model import file_sha256
from trident.errors import ConfigError, ExportError
from trident.generation.plan import Library, PlanManifest, find_gpu, load_library
from trident.retrieval.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident_export.engine.profiles import Profile

logger = logging.getLogger(__name__)

INPUTS, OUTPUTS = {INPUT_IDS, ATTENTION_MASK}, {EMBEDDING}
AMPERE_AND_LATER = ("8.0+",)
IMPOSSIBLE = "values are not self-consistent"  # a profile that the graph cannot run is built with this warning only
NO_GPU = "cudaError"  # tensorrt_rtx says so beside every error of a machine without a GPU


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How a plan is built."""

    workspace_mib: int = 0  # most GPU memory that a layer may use while it runs; 0: all
    compute_capabilities: tuple[str, ...] = ()  # tensorrt_rtx only, such as 8.9; empty: 8.0 and later

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.workspace_mib < 0:
            raise ConfigError(f"workspace_mib must be >= 0, got {self.workspace_mib}")
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d+\.\d", capability):
                raise ConfigError(f"compute_capabilities must be such as 8.9, got '{capability}'")

    def check(self, library: Library) -> None:
        """Check that a library has what is asked for.

        Raises:
            ConfigError: If it has not.
        """
        if self.compute_capabilities and library != "tensorrt_rtx":
            raise ConfigError(
                f"compute_capabilities is an option of tensorrt_rtx, got {self.compute_capabilities!r} for {library}"
            )


@dataclass(frozen=True)
class PlanSettings:
    """What builds a plan of a graph, and how."""

    library: Library
    precision: str  # of the graph, for the manifest
    options: EngineOptions = field(default_factory=EngineOptions)


def describe_plan(onnx: Path, profiles: Sequence[Profile], settings: PlanSettings) -> PlanManifest:
    """Return the manifest that a plan built here would have, its size and hash left out; see ``build_plan``.

    Raises:
        MissingExtraError: If the library is not installed.
        ConfigError: If the library does not have an option.
        ExportError: If ``tensorrt`` is to build on a machine without a GPU.
    """
    library, options = settings.library, settings.options
    options.check(library)
    version = str(load_library(library).__version__)
    gpu = find_gpu() if library == "tensorrt" else None  # tensorrt_rtx builds for kinds of GPUs, not for one
    if library == "tensorrt" and gpu is None:
        raise ExportError("tensorrt builds a plan for the GPU that is here, got none: build where nvidia-smi shows one")
    return PlanManifest(
        library=library,
        version=version,
        precision=settings.precision,
        onnx_sha256=file_sha256(onnx),
        plan_sha256="",
        size_bytes=0,
        compute_capabilities=(
            (gpu.compute_capability,) if gpu is not None else options.compute_capabilities or AMPERE_AND_LATER
        ),
        gpu=gpu,
        profiles=tuple(to_table(profile) for profile in profiles),
        options=to_table(options),
    )


def build_plan(
    onnx: Path,
    output: Path,
    profiles: Sequence[Profile],
    settings: PlanSettings,
    *,
    timing_cache: Path | None = None,
) -> PlanManifest:
    """Build the plan of a graph, write it with its manifest beside it, and return the manifest.

    Args:
        onnx: The graph; its types are taken as they are.
        output: The plan's file.
        profiles: One or more; Triton takes the one that fits a batch best.
        settings: What builds it, and how.
        timing_cache: Keeps what ``tensorrt`` measured, for the next build; ``tensorrt_rtx`` measures nothing.

    Raises:
        MissingExtraError: If the library is not installed.
        ConfigError: If the library does not have an option.
        ExportError: In the library's own words, if the graph or a profile cannot be built.
    """
    library, options = settings.library, settings.options
    described = describe_plan(onnx, profiles, settings)
    trt = load_library(library)
    log = _logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, onnx, log)
    config = _configure(trt, builder, options)
    cache = _read_timing_cache(config, timing_cache) if library == "tensorrt" else None
    for profile in profiles:
        _add_profile(builder, config, profile, log)
    plan = builder.build_serialized_network(network, config)
    impossible = next((text for _, text in log.lines if IMPOSSIBLE in text), None)
    if plan is None or impossible:
        shapes = ", ".join(map(str, profiles))
        raise ExportError(f"{library} cannot build {onnx.name} for {shapes}: {impossible or log.errors()}")
    data = bytes(plan)
    output.write_bytes(data)
    if cache is not None and timing_cache is not None:
        staging = timing_cache.with_name(f".{timing_cache.name}.{os.getpid()}")
        staging.write_bytes(bytes(cache.serialize()))
        staging.replace(timing_cache)
    manifest = replace(described, plan_sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    manifest.save(output)
    return manifest


def _parse(trt: Any, network: Any, onnx: Path, log: Any) -> None:
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        said = "; ".join(_words(error) for error in errors) or log.errors()
        raise ExportError(f"{trt.__name__} cannot read {onnx}: {said}")
    found = {network.get_input(number).name for number in range(network.num_inputs)}
    given = {network.get_output(number).name for number in range(network.num_outputs)}
    if (found, given) != (INPUTS, OUTPUTS):
        raise ExportError(
            f"an encoder must take {', '.join(sorted(INPUTS))} and give {EMBEDDING}, "
            f"got {', '.join(sorted(found))} and {', '.join(sorted(given))} in {onnx}"
        )


def _words(error: Any) -> str:
    node = error.node_name()
    return f"{error.desc()} (node '{node}', {error.node_operator()})" if node else str(error.desc())


def _configure(trt: Any, builder: Any, options: EngineOptions) -> Any:
    config = builder.create_builder_config()
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20)
    if options.compute_capabilities:
        config.num_compute_capabilities = len(options.compute_capabilities)
    for number, capability in enumerate(options.compute_capabilities):
        target = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}", None)
        if target is None:
            known = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in dir(trt.ComputeCapability) if name[:2] == "SM")
            raise ConfigError(f"compute capability {capability} is none that {trt.__name__} builds for: {known}")
        config.set_compute_capability(target, number)
    return config


def _add_profile(builder: Any, config: Any, profile: Profile, log: Any) -> None:
    shapes = builder.create_optimization_profile()
    for name in (INPUT_IDS, ATTENTION_MASK):
        shapes.set_shape(name, profile.min, profile.opt, profile.max)
    if config.add_optimization_profile(shapes) < 0:
        raise ExportError(
            f"profile {profile}, from {profile.min[0]}x{profile.min[1]} on, is impossible: {log.errors()}"
        )


def _read_timing_cache(config: Any, path: Path | None) -> Any:
    cache = config.create_timing_cache(path.read_bytes() if path is not None and path.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=True)
    return cache


def _logger(trt: Any) -> Any:
    """Return a logger that keeps warnings and errors; its class has to derive from the library's."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[tuple[bool, str]] = []  # whether it is an error, and the text

        def log(self, severity: Any, text: str) -> None:
            if severity <= trt.ILogger.Severity.WARNING:
                self.lines.append((severity <= trt.ILogger.Severity.ERROR, text))
            logger.debug("%s", text)

        def errors(self) -> str:
            """Return the errors in one line, those that only say that there is no GPU last of all."""
            said = [text for error, text in self.lines if error]
            return "; ".join([text for text in said if NO_GPU not in text] or said) or "it gave no reason"

    return Log()

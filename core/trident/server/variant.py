"""Which encoder a server runs when that is left to it, ``trident serve --variant auto``, as the image does.

A TensorRT plan where a GPU, TensorRT and Triton's backend for it are there: built when a graph, a TensorRT or a GPU is
seen for the first time, found again later. On other GPUs what can be: Triton's ONNX Runtime, or PyTorch in the Python
backend. ONNX Runtime on a CPU elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from trident.errors import GenerationError, ServerError
from trident.generation.generation import Generation
from trident.generation.plan import PLAN_PRECISIONS, Gpu, Library, build_command, find_gpu, served_plan
from trident.server.tritonserver import find_tritonserver


@dataclass(frozen=True)
class VariantChoice:
    """A variant of the encoder and why it is this one."""

    variant: str
    reason: str


def choose_variant(
    gpu: Gpu | None, backends: Collection[str], *, tensorrt: bool, torch: bool, precision: str = "fp32"
) -> VariantChoice:
    """Return the fastest variant that can run.

    Args:
        gpu: Of this machine, None without one.
        backends: Names of the server's backends.
        tensorrt: Whether plans can be built here.
        torch: Whether a PyTorch for GPUs and the package that serves with it are installed.
        precision: That the generation is served in; only the CPU runs int8.
    """
    if precision != "fp32":
        return VariantChoice("cpu", f"the generation is served in {precision}")
    if gpu is None:
        return VariantChoice("cpu", "no GPU")
    if "tensorrt" in backends and tensorrt:
        return VariantChoice("tensorrt", str(gpu))
    missing = "no Python module tensorrt to build a plan with" if "tensorrt" in backends else "no backend tensorrt"
    if "onnxruntime" in backends:
        return VariantChoice("onnxruntime", f"{gpu}, but {missing}")
    missing += " and no backend onnxruntime"
    if torch:
        return VariantChoice("torch", f"{gpu}, but {missing}")
    return VariantChoice("cpu", f"{gpu}, but {missing}, and no PyTorch for GPUs from the extra gpu")


def find_variant(precision: str = "fp32") -> VariantChoice:
    """Return the fastest variant for the GPU, the server and the TensorRT that are here.

    Args:
        precision: That the generation is served in.

    Raises:
        ServerError: If there is no tritonserver.
    """
    backends = {path.name for path in find_tritonserver().backends.iterdir()}
    tensorrt = importlib.util.find_spec("tensorrt") is not None
    torch = torch_fault() is None and "+cpu" not in importlib.metadata.version("torch")
    return choose_variant(find_gpu(), backends, tensorrt=tensorrt, torch=torch, precision=precision)


def torch_fault() -> str | None:
    """Return why PyTorch cannot serve here, None where it can; the server's process imports the same."""
    missing = [name for name in ("torch", "transformers", "trident_gpu") if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"--variant torch needs {', '.join(missing)}, which is not installed: pip install 'trident-search[serve,gpu]'"
    )


def ensure_plan(generation: Generation, cache: Path, *, library: Library = "tensorrt") -> Path:
    """Return a plan of a generation that fits this machine, after building it if there is none.

    It is built by ``trident engine`` in a process of its own, which leaves no GPU memory taken.

    Args:
        generation: What is to be served.
        cache: The folder of ``trident engine``.
        library: That builds and loads the plan.

    Raises:
        ServerError: If it cannot be built; why stands on standard error.
    """
    try:
        return served_plan(generation, cache, library=library)
    except GenerationError:
        pass  # none, or of another machine
    precision = next(name for name in PLAN_PRECISIONS if generation.graph(name).is_file())
    options = ["--library", library, "--precision", precision, "--cache", str(cache)]
    built = subprocess.run(
        [sys.executable, "-m", "trident", "engine", str(generation.folder), *options], stdout=sys.stderr, check=False
    )
    if built.returncode != 0:
        command = build_command(generation.folder, library, precision=precision, cache=cache)
        raise ServerError(
            f"the plan of generation {generation.id} could not be built, see above, or try it with '{command}'; "
            "--variant cpu serves without one"
        )
    return served_plan(generation, cache, library=library)


def ready_variant(generation: Generation, cache: Path, *, report: Callable[[str], None]) -> str:
    """Return the variant to serve a generation with, its plan built where it is served with one.

    Args:
        generation: What is to be served.
        cache: The folder of ``trident engine``.
        report: Called with a line that says what was chosen, and why.

    Raises:
        ServerError: If there is no tritonserver, or the plan cannot be built.
    """
    choice = find_variant(generation.served_precision)
    report(f"encoder: {choice.variant} ({choice.reason})")
    if choice.variant == "tensorrt":
        ensure_plan(generation, cache)
    return choice.variant

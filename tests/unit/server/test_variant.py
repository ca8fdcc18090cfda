"""What --variant auto chooses, and that it builds the plan it needs, once."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trident.errors import GenerationError, ServerError
from trident.generation.generation import Generation
from trident.generation.plan import Gpu, find_gpu
from trident.server.serving import plan_of
from trident.server.variant import choose_variant, ensure_plan, find_variant, ready_variant

GPU = Gpu(name="NVIDIA L4", compute_capability="8.9")
IMAGE = {"onnxruntime", "python", "tensorrt"}


@pytest.mark.parametrize(
    ("gpu", "backends", "tensorrt", "torch", "precision", "variant", "reason"),
    [
        (GPU, IMAGE, True, True, "fp32", "tensorrt", "NVIDIA L4 (compute capability 8.9)"),
        (GPU, IMAGE, False, True, "fp32", "onnxruntime", "no Python module tensorrt"),
        (GPU, {"python", "onnxruntime"}, True, True, "fp32", "onnxruntime", "no backend tensorrt"),
        (GPU, {"python"}, True, True, "fp32", "torch", "no backend tensorrt and no backend onnxruntime"),
        (GPU, {"python"}, True, False, "fp32", "cpu", "no PyTorch for GPUs from the extra gpu"),
        (None, IMAGE, True, True, "fp32", "cpu", "no GPU"),
        (GPU, IMAGE, True, True, "int8", "cpu", "the generation is served in int8"),
    ],
)
def test_the_fastest_variant_that_can_run_is_taken(gpu, backends, tensorrt, torch, precision, variant, reason) -> None:
    choice = choose_variant(gpu, backends, tensorrt=tensorrt, torch=torch, precision=precision)
    assert choice.variant == variant
    assert reason in choice.reason


def test_here_there_is_what_this_machine_has() -> None:
    gpu_build = "+cpu" not in importlib.metadata.version("torch")  # the wheel's server has the Python backend only
    assert find_variant().variant == ("torch" if find_gpu() is not None and gpu_build else "cpu")


@pytest.mark.parametrize("variant", ["tensorrt", "onnxruntime", "torch"])
def test_what_is_served_in_8_bits_is_served_by_the_cpu_only(
    generation: Generation, tmp_path: Path, variant: str
) -> None:
    parts = generation.manifest.parts | {"served": "int8"}
    served = replace(generation, manifest=replace(generation.manifest, parts=parts))
    said: list[str] = []
    assert ready_variant(served, tmp_path, report=said.append) == "cpu"
    assert said == ["encoder: cpu (the generation is served in int8)"]
    assert plan_of(served, "cpu", tmp_path) is None
    message = f"is served in int8, .* only --variant cpu runs, got {variant}: serve it so, or export with precision"
    with pytest.raises(GenerationError, match=message):
        plan_of(served, variant, tmp_path)


def test_an_earlier_export_is_not_served_with_pytorch(generation: Generation, tmp_path: Path) -> None:
    shutil.copytree(generation.folder, tmp_path / generation.id)
    earlier = Generation.load(tmp_path / generation.id)
    assert plan_of(earlier, "torch", tmp_path) is None
    (earlier.version_folder("encoder") / "torch_model.py").unlink()
    with pytest.raises(
        GenerationError, match=r"must hold torch_model.py for --variant torch, got none: .*export again"
    ):
        plan_of(earlier, "torch", tmp_path)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from trident.server.variant import torch_fault
print(torch_fault())
"""


def test_what_pytorch_needs_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "--variant torch needs torch, which is not installed: pip install 'trident-search[serve,gpu]'\n"
    )


def test_a_plan_is_built_once_and_found_again(generation: Generation, tmp_path: Path, capfd) -> None:
    plan = ensure_plan(generation, tmp_path, library="tensorrt_rtx")
    assert plan.is_relative_to(tmp_path)
    assert "built in" in capfd.readouterr().err
    assert ensure_plan(generation, tmp_path, library="tensorrt_rtx") == plan
    assert capfd.readouterr().err == ""


def test_the_float32_graph_serves_where_float16_was_not_shipped(generation: Generation, tmp_path: Path) -> None:
    shutil.copytree(generation.folder, tmp_path / generation.id)
    without = Generation.load(tmp_path / generation.id)
    without.graph("fp16").unlink()
    assert ensure_plan(without, tmp_path / "plans", library="tensorrt_rtx").is_file()


def test_a_plan_that_cannot_be_built_is_refused_with_the_builder_s_words(
    generation: Generation, tmp_path: Path, capfd
) -> None:
    with pytest.raises(ServerError, match=r"plan of generation \w+ could not be built, see above.*--variant cpu"):
        ensure_plan(generation, tmp_path, library="tensorrt")
    assert "tensorrt" in capfd.readouterr().err

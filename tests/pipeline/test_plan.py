"""A plan is loaded only where it fits: each refusal has both sides, and the command that builds it again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tensorrt_rtx

from trident.config import to_table
from trident.errors import GenerationError
from trident.generation.generation import Generation
from trident.generation.plan import Gpu, PlanManifest, build_command, check_plan, manifest_path, served_plan
from trident.server.runtime_repository import lay_out
from trident.server.server import free_ports
from trident_export.engine.cache import CachedPlan, cached_plan
from trident_export.engine.engine import PlanSettings
from trident_export.engine.profiles import generation_profiles

VERSION = str(tensorrt_rtx.__version__)
H100 = Gpu(name="NVIDIA H100 80GB HBM3", compute_capability="9.0")
A100 = Gpu(name="NVIDIA A100-SXM4-80GB", compute_capability="8.0")
# tensorrt_rtx under the name of tensorrt, whose interface it has: what is bound to a GPU is run without one.
STAND_IN = "from tensorrt_rtx import *\nfrom tensorrt_rtx import __version__\n"
SMI = "#!/bin/sh\necho '{gpu.name}, {gpu.compute_capability}'\n"
SERVED = """
import sys
from pathlib import Path
from trident.generation.generation import Generation
from trident.generation.plan import served_plan
print(served_plan(Generation.load(Path(sys.argv[1])), Path(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def built(generation: Generation, tmp_path_factory: pytest.TempPathFactory) -> CachedPlan:
    return cached_plan(
        generation.graph("fp16"),
        tmp_path_factory.mktemp("plans"),
        generation_profiles(generation),
        PlanSettings("tensorrt_rtx", "fp16"),
    )


@pytest.fixture
def cache(built: CachedPlan, tmp_path: Path) -> Path:
    """Return a copy of the cache, to be spoiled."""
    return Path(shutil.copytree(built.path.parents[3], tmp_path / "cache"))


def plan_in(cache: Path) -> Path:
    (plan,) = cache.glob("*/*/*/model.plan")
    return plan


def edit(plan: Path, **values: object) -> None:
    path = manifest_path(plan)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda plan: plan.write_bytes(plan.read_bytes()[:-10]),
            r"was built with [\d,]+ bytes, it has [\d,]+ bytes: cu",
        ),
        (
            lambda plan: plan.write_bytes(b"x" + plan.read_bytes()[1:]),
            r"was built with SHA-256 \w{16}, it has \w{16}: ",
        ),
        (lambda plan: edit(plan, onnx_sha256="0" * 64), r"was built from graph 0{16}, here is \w{16}; "),
        (lambda plan: edit(plan, version="1.0"), rf"was built by tensorrt_rtx 1\.0, here is tensorrt_rtx {VERSION}; "),
        (lambda plan: edit(plan, library="tensorrt"), "was built by tensorrt .*, here is tensorrt_rtx"),
        (lambda plan: edit(plan, gpu=to_table(H100)), r"was built for NVIDIA H100 .*\(.* 9\.0\), here is no GPU; "),
        (lambda plan: edit(plan, size="3"), "is missing or damaged .*unknown key 'size'"),
        (lambda plan: manifest_path(plan).write_text("{"), "is missing or damaged"),
        (lambda plan: manifest_path(plan).unlink(), "is missing or damaged .*No such file"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    generation: Generation, cache: Path, damage: Callable[[Path], None], message: str
) -> None:
    assert served_plan(generation, cache, library="tensorrt_rtx") == plan_in(cache)
    damage(plan_in(cache))
    with pytest.raises(GenerationError, match=message) as caught:
        served_plan(generation, cache, library="tensorrt_rtx")
    assert str(caught.value).endswith(f": trident engine {generation.folder} --library tensorrt_rtx --cache {cache}")


def test_a_missing_plan_names_the_command_that_builds_it(generation: Generation, tmp_path: Path) -> None:
    message = (
        f"generation {generation.id} has no plan of tensorrt, neither in its folder nor in {tmp_path}: "
        f"build it: trident engine {generation.folder} --library tensorrt --cache {tmp_path}"
    )
    with pytest.raises(GenerationError) as caught:
        served_plan(generation, tmp_path)
    assert str(caught.value) == message


def test_the_command_names_what_is_not_the_default(
    generation: Generation, tmp_path: Path, run_trident: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    only_fp32 = Generation.load(Path(shutil.copytree(generation.folder, tmp_path / generation.id)))
    only_fp32.graph("fp16").unlink()
    cache = tmp_path / "my plans"
    with pytest.raises(GenerationError) as caught:
        served_plan(only_fp32, cache, library="tensorrt_rtx")
    words = shlex.split(str(caught.value).partition("build it: ")[2])
    assert words[2:] == [
        *(str(only_fp32.folder), "--library", "tensorrt_rtx"),
        *("--precision", "fp32", "--cache", str(cache)),
    ]
    done = run_trident(*words[1:])  # what is told is what helps
    assert done.returncode == 0, done.stderr
    assert served_plan(only_fp32, cache, library="tensorrt_rtx") == plan_in(cache)
    edit(plan_in(cache), version="1.0")
    with pytest.raises(GenerationError) as caught:
        served_plan(only_fp32, cache, library="tensorrt_rtx")
    assert shlex.split(str(caught.value).partition("build it again: ")[2]) == words
    assert build_command("GENERATION", "tensorrt") == "trident engine GENERATION --library tensorrt"


def test_the_plan_of_the_generation_comes_first_and_the_cache_helps_out(
    generation: Generation, built: CachedPlan, cache: Path, tmp_path: Path
) -> None:
    copy = Generation.load(Path(shutil.copytree(generation.folder, tmp_path / generation.id)))
    folder = copy.folder / "engines" / "tensorrt_rtx" / "fp16"
    shutil.copytree(built.path.parent, folder)
    assert served_plan(copy, cache, library="tensorrt_rtx") == folder / "model.plan"
    edit(folder / "model.plan", version="1.0")
    assert served_plan(copy, cache, library="tensorrt_rtx") == plan_in(cache)


def test_a_plan_is_linked_where_triton_looks(generation: Generation, cache: Path, tmp_path: Path) -> None:
    lay_out(tmp_path / "repository", generation, cache=False, plan=plan_in(cache))
    linked = tmp_path / "repository" / "encoder" / str(generation.serial) / "model.plan"
    assert linked.read_bytes() == plan_in(cache).read_bytes()


def test_serving_without_a_plan_is_refused_before_a_server_starts(
    tiny_generations: Path, tmp_path: Path, run_trident: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    numbers = list(map(str, free_ports(3)))
    ports = ("--http-port", numbers[0], "--grpc-port", numbers[1], "--metrics-port", numbers[2])
    done = run_trident("serve", "--generations", tiny_generations, "--variant", "tensorrt", "--plans", tmp_path, *ports)
    assert done.returncode == 1
    assert "has no plan of tensorrt, neither in its folder nor in" in done.stderr.splitlines()[-1]
    assert not list((tiny_generations / ".serving").glob(numbers[0]))


def manifest(**values: object) -> PlanManifest:
    made = PlanManifest(
        library="tensorrt",
        version="10.9.0.34",
        precision="fp16",
        onnx_sha256="1" * 64,
        plan_sha256="2" * 64,
        size_bytes=3,
        compute_capabilities=("9.0",),
        gpu=H100,
        profiles=(),
    )
    return replace(made, **values)  # type: ignore[arg-type]


def test_compute_capabilities() -> None:
    assert manifest().runs_on(H100)
    assert not manifest().runs_on(A100)
    assert manifest(compute_capabilities=("8.0+",)).runs_on(replace(H100, compute_capability="12.0"))
    assert not manifest(compute_capabilities=("8.0+",)).runs_on(replace(H100, compute_capability="7.5"))


def test_the_identity_is_what_a_plan_is_made_of() -> None:
    assert manifest(plan_sha256="3" * 64, size_bytes=4).identity == manifest().identity
    for change in ({"version": "10.10"}, {"gpu": A100}, {"onnx_sha256": "4" * 64}, {"options": {"workspace_mib": 1}}):
        assert manifest(**change).identity != manifest().identity


def test_a_gpu_outside_the_compute_capabilities_is_refused(built: CachedPlan) -> None:
    turing = Gpu(name="Tesla T4", compute_capability="7.5")
    checked = {"onnx_sha256": built.manifest.onnx_sha256, "library": "tensorrt_rtx", "version": VERSION}
    assert check_plan(built.path, gpu=A100, **checked) == built.manifest  # type: ignore[arg-type]
    message = (
        r"was built for compute capabilities 8\.0\+, here is Tesla T4 \(compute capability 7\.5\); build it again: "
    )
    with pytest.raises(GenerationError, match=message):
        check_plan(built.path, gpu=turing, **checked)  # type: ignore[arg-type]


def machine(folder: Path, gpu: Gpu | None) -> dict[str, str]:
    """Return the environment of a machine whose nvidia-smi shows a GPU, and that has a library called tensorrt."""
    folder.mkdir()
    (folder / "tensorrt.py").write_text(STAND_IN)
    (folder / "nvidia-smi").write_text(SMI.format(gpu=gpu) if gpu else "#!/bin/sh\nexit 9\n")
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}


def test_a_plan_of_tensorrt_is_bound_to_its_gpu(
    generation: Generation, tmp_path: Path, run_trident: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    h100, a100, none = (machine(tmp_path / name, gpu) for name, gpu in (("h100", H100), ("a100", A100), ("none", None)))
    cache = tmp_path / "cache"

    def served(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", SERVED, str(generation.folder), str(cache)]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=100)

    engine = ("engine", generation.folder, "--library", "tensorrt", "--cache", cache, "--json")
    refused = run_trident(*engine, **none)
    assert "tensorrt builds a plan for the GPU that is here, got none: build where nvidia-smi" in refused.stderr
    done = run_trident(*engine, **h100)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["gpu"], made["compute_capabilities"]) == (to_table(H100), ["9.0"])
    assert served(h100).stdout.strip() == made["plan"]
    assert f"was built for {H100}, here is {A100}; build it again: trident engine" in served(a100).stderr
    assert f"was built for {H100}, here is no GPU; build it again: trident engine" in served(none).stderr
    timings = cache / "tensorrt"
    assert len(list(timings.glob("*.timing"))) == 1
    assert run_trident(*engine, **a100).returncode == 0
    assert len(list(timings.glob("*.timing"))) == 2  # what was measured on a GPU is of that GPU
    assert not [path for path in timings.iterdir() if path.name.startswith(".")]

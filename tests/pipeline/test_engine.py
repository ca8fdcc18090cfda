"""Plans of TensorRT, compiled for real by tensorrt_rtx on a machine without a GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import tensorrt_rtx

from trident.data.pairs import read_pairs
from trident.encoder.base_model import file_sha256
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ConfigError, ExportError, GenerationError, TridentError
from trident.generation.generation import Generation, Identity
from trident_export.config import EngineConfig, ExportConfig, PrecisionConfig
from trident_export.engine.cache import cached_plan
from trident_export.engine.engine import EngineOptions, PlanSettings, build_plan
from trident_export.engine.profiles import Profile, generation_profiles, length_of_share
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

PROFILES = [Profile(name="query", min=(1, 1), opt=(8, 6), max=(64, 16))]
# The command line on a machine that has what serving needs, and the library.
SERVING_ONLY = """
import runpy, sys
for name in ("torch", "transformers", "peft", "onnx", "onnxscript", "accelerate"):
    sys.modules[name] = None
runpy.run_module("trident", run_name="__main__")
"""


def build(onnx_file: Path, output: Path, profiles: list[Profile] | None = None, **options: Any) -> Any:
    return build_plan(
        onnx_file,
        output,
        profiles or PROFILES,
        PlanSettings("tensorrt_rtx", "fp32", EngineOptions(**options)),
    )


def test_an_export_builds_the_plan(tiny_run: Path, tiny_data: Path, tmp_path: Path, generation: Generation) -> None:
    config = ExportConfig(
        threads=1, precision=PrecisionConfig(made=("fp16",)), engine=EngineConfig(library="tensorrt_rtx")
    )
    made, again = (
        export_generation(ExportOrder(tiny_run, tiny_data / "products.csv", tmp_path / "generations", config))
        for _ in range(2)
    )
    assert (made.id, made.serial) == (again.id, again.serial)
    assert made.id != generation.id
    made.verify_files()
    plan = made.folder / "engines" / "tensorrt_rtx" / "fp16" / "model.plan"
    manifest = json.loads(plan.with_name("model.plan.json").read_text())
    assert manifest["version"] == tensorrt_rtx.__version__
    assert manifest["onnx_sha256"] == file_sha256(made.graph("fp16"))
    assert manifest["plan_sha256"] == file_sha256(plan)
    assert manifest["profiles"] == made.manifest.profiles
    assert (manifest["compute_capabilities"], manifest["gpu"]) == (["8.0+"], None)
    row = next(row for row in made.manifest.stages if row["stage"] == "engine")
    assert row["size_bytes"] == plan.stat().st_size == manifest["size_bytes"]
    assert row["proof"].startswith(
        f"tensorrt_rtx {tensorrt_rtx.__version__} compiled fp16 for compute capabilities 8.0+"
    )
    assert "query 8x" in row["proof"]
    assert "engine/tensorrt_rtx/fp16" in made.manifest.parts


def test_profiles_are_the_lengths_of_the_data(generation: Generation, tiny_data: Path) -> None:
    tokenizer = TextTokenizer.load(
        generation.folder / "encoder", contract := TextContract.load(generation.folder / "encoder")
    )
    queries = list(dict.fromkeys(read_pairs(generation.folder / "test.parquet").queries))
    lengths = sorted(len(row) for row in tokenizer.token_ids(queries, "query"))
    query, product = generation_profiles(generation)
    assert sum(length <= query.opt[1] for length in lengths) >= 0.99 * len(lengths)
    assert sum(length < query.opt[1] for length in lengths) < 0.99 * len(lengths)
    assert (query.max, product.max) == ((64, contract.query_max_tokens), (256, contract.product_max_tokens))
    assert lengths[0] <= query.opt[1] <= lengths[-1]
    assert Identity.load(generation.version_folder("tokenizer")).query_tokens == query.opt[1]


def test_the_length_of_a_share() -> None:
    assert [length_of_share(share, [9, 3, 4, 5]) for share in (0.25, 0.5, 0.75, 0.76, 1.0)] == [3, 4, 5, 9, 9]


def test_a_broken_graph_is_refused_in_the_parsers_words(generation: Generation, tmp_path: Path) -> None:
    whole = generation.graph("fp32")
    (tmp_path / "cut.onnx").write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ExportError, match=r"tensorrt_rtx cannot read .*cut\.onnx: .*Failed to parse the ONNX model"):
        build(tmp_path / "cut.onnx", tmp_path / "model.plan")
    model = onnx.load(str(whole))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.op_type = "Softmix"
    onnx.save(model, str(tmp_path / "unknown.onnx"))
    with pytest.raises(ExportError, match=r"cannot read .*unknown\.onnx: .*Plugin not found.*\(node '.+', Softmix\)"):
        build(tmp_path / "unknown.onnx", tmp_path / "model.plan")
    softmax.op_type = "Softmax"
    model.graph.output[0].name = model.graph.node[-1].output[0] = "vector"
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    message = "must take attention_mask, input_ids and give embedding, got attention_mask, input_ids and vector in"
    with pytest.raises(ExportError, match=message):
        build(tmp_path / "renamed.onnx", tmp_path / "model.plan")
    assert not list(tmp_path.glob("*.plan*"))


def test_an_impossible_profile_is_refused_in_the_builders_words(generation: Generation, tmp_path: Path) -> None:
    longer = [replace(PROFILES[0], max=(64, 600))]  # the tiny model has 128 positions
    with pytest.raises(ExportError, match=r"cannot build .* 64x600: Profile kMAX values are not self-consistent.*128"):
        build(generation.graph("fp32"), tmp_path / "model.plan", longer)
    turned = [replace(PROFILES[0], min=(9, 1))]
    with pytest.raises(ExportError, match=r"profile query 8x6 to 64x16, from 9x1 on, is impossible: .*MIN<=OPT<=MAX"):
        build(generation.graph("fp32"), tmp_path / "model.plan", turned)
    assert not list(tmp_path.iterdir())


def test_options(generation: Generation, tmp_path: Path) -> None:
    made = build(
        generation.graph("fp32"), tmp_path / "model.plan", workspace_mib=64, compute_capabilities=("8.6", "8.9")
    )
    assert made.compute_capabilities == ("8.6", "8.9")
    assert made.options["workspace_mib"] == 64
    with pytest.raises(ConfigError, match=r"compute capability 5\.0 is none that tensorrt_rtx builds for: .*8\.9"):
        build(generation.graph("fp32"), tmp_path / "other.plan", compute_capabilities=("5.0",))
    for name, value, message in (
        ("workspace_mib", -1, "workspace_mib must be >= 0, got -1"),
        ("compute_capabilities", ("sm89",), r"compute_capabilities must be such as 8\.9, got 'sm89'"),
    ):
        with pytest.raises(ConfigError, match=message):
            EngineOptions(**{name: value})
    with pytest.raises(ConfigError, match=r"compute_capabilities is an option of tensorrt_rtx, got .* for tensorrt"):
        EngineConfig(library="tensorrt", options=EngineOptions(compute_capabilities=("8.9",)))
    with pytest.raises(
        ConfigError, match=r"precision\.made must hold fp16, which the engine is built from, got \('int"
    ):
        ExportConfig(precision=PrecisionConfig(made=("int8",)), engine=EngineConfig(library="tensorrt_rtx"))


def test_a_plan_is_built_once_and_again_when_it_is_damaged(generation: Generation, tmp_path: Path) -> None:
    def cached(cache: Path = tmp_path / "cache", **options: Any) -> Any:
        return cached_plan(
            generation.graph("fp16"),
            cache,
            PROFILES,
            PlanSettings("tensorrt_rtx", "fp16", EngineOptions(**options)),
        )

    first, second = cached(), cached()
    assert (first.built, second.built) == (True, False)
    assert (first.path, first.manifest) == (second.path, second.manifest)
    first.path.write_bytes(first.path.read_bytes()[:-1])
    third = cached()
    assert third.built
    assert third.manifest.identity == first.manifest.identity
    assert third.path.stat().st_size == third.manifest.size_bytes
    other = cached(workspace_mib=64)
    assert other.built
    assert other.path != first.path
    (tmp_path / "file").write_text("x")
    with pytest.raises(TridentError, match="cannot be written: Not a directory"):
        cached(tmp_path / "file")


def test_a_failed_build_leaves_nothing_in_the_cache(generation: Generation, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(generation.graph("fp32").read_bytes()[:5000])
    cache = tmp_path / "cache"
    with pytest.raises(ExportError, match="cannot read"):
        cached_plan(
            tmp_path / "cut.onnx",
            cache,
            PROFILES,
            PlanSettings("tensorrt_rtx", "fp32"),
        )
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_the_command_builds_with_what_a_server_has(generation: Generation, tmp_path: Path) -> None:
    arguments = ["engine", generation.folder, "--library", "tensorrt_rtx", "--cache", tmp_path / "cache", "--json"]
    program = [sys.executable, "-c", SERVING_ONLY]

    def run(*more: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*program, *map(str, [*arguments, *more])]
        return subprocess.run(command, capture_output=True, text=True, timeout=200)

    first = run("--out", tmp_path / "out" / "model.plan")
    assert first.returncode == 0, first.stderr
    made = json.loads(first.stdout)
    assert made["built"]
    assert made["precision"] == "fp16"
    assert file_sha256(tmp_path / "out" / "model.plan") == made["plan_sha256"]
    assert json.loads((tmp_path / "out" / "model.plan.json").read_text())["onnx_sha256"] == made["onnx_sha256"]
    assert not json.loads(run().stdout)["built"]
    arguments[3] = "tensorrt"
    refused = run("--set", "compute_capabilities=['8.9']")
    assert refused.returncode == 2
    assert refused.stderr == "trident: compute_capabilities is an option of tensorrt_rtx, got ('8.9',) for tensorrt\n"


@pytest.mark.parametrize(
    ("arguments", "spoil", "line"),
    [
        (("--library", "tensorrt"), None, "a plan of tensorrt needs the Python module tensorrt: it comes from NVIDIA"),
        (("--library", "tensorrt_rtx"), "graph", "has no fp16 graph: its manifest says why; try another --precision"),
        (("--library", "tensorrt_rtx"), "profiles", "has no profiles: an earlier version of Trident made it; export"),
        (
            ("--library", "tensorrt_rtx", "--out", "{}/file/model.plan"),
            None,
            "file/model.plan cannot be written: ",
        ),
        (
            ("--library", "tensorrt_rtx", "--out", "."),
            None,
            "--out must be a file, got the folder .: choose a name such",
        ),
    ],
)
def test_the_command_refuses_in_one_line(
    generation: Generation,
    tmp_path: Path,
    run_trident: Callable[..., subprocess.CompletedProcess[str]],
    arguments: tuple[str, ...],
    spoil: str | None,
    line: str,
) -> None:
    folder = shutil.copytree(generation.folder, tmp_path / generation.id)
    (tmp_path / "file").write_text("x")
    if spoil == "graph":
        Generation.load(folder).graph("fp16").unlink()
    if spoil == "profiles":
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"profiles": []}))
    own = (argument.format(tmp_path) for argument in arguments)
    done = run_trident("engine", folder, "--cache", tmp_path / "cache", *own)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("**/.*.staging*"))


def test_profiles_must_be_there(generation: Generation) -> None:
    bare = replace(generation, manifest=replace(generation.manifest, profiles=[]))
    with pytest.raises(GenerationError, match=f"generation {generation.id} has no profiles: .* export again"):
        generation_profiles(bare)


def test_lengths_are_those_of_a_sample_where_there_are_many(generation: Generation) -> None:
    from trident_export.engine.profiles import SAMPLE, make_profiles

    tokenizer = TextTokenizer.load(generation.folder / "encoder", TextContract.load(generation.folder / "encoder"))
    titles = [*["sofa"] * (2 * SAMPLE), *["red sofa of Alba"] * (SAMPLE // 2)]
    _, product = make_profiles(tokenizer, ["sofa"], titles)
    longest = len(tokenizer.token_ids(titles[-1:], "product")[0])
    assert product.opt == (64, longest)

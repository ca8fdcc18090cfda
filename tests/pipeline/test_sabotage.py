"""Exports that must be refused: each names its reason, and nothing is left in ``generations/``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import BertModel

from trident.config import from_table
from trident.encoder.text import TextContract
from trident.errors import ExportError, GenerationError
from trident.generation.generation import Generation
from trident_export.config import EngineConfig, ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_export.progress_rows import Stage
from trident_train.recipe import DataRecipe, TrainRecipe
from trident_train.run import train

PLAN = "engines/tensorrt_rtx/fp16/model.plan"
WITH_PLAN = ExportConfig(
    threads=1, precision=PrecisionConfig(made=("fp16",)), engine=EngineConfig(library="tensorrt_rtx")
)


def export(
    run: Path, data: Path, output: Path, config: ExportConfig, report: Callable[[Stage], None] = lambda _: None
) -> Generation:
    return export_generation(ExportOrder(run, data / "products.csv", output, config), report=report)


def after(stage: str, output: Path, file: str, damage: Callable[[Path], None]) -> Callable[[Stage], None]:
    """Return a report that damages a file of the staging folder when a stage is done."""

    def report(done: Stage) -> None:
        if done.stage == stage:
            (path,) = output.glob(f".export.staging-*/parts/{file}")
            damage(path)

    return report


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change_a_weight(path: Path) -> None:
    model = onnx.load(str(path))
    matrices = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]
    values = np.frombuffer(matrices[-1].raw_data, dtype=np.float32).copy()
    values[np.abs(values).argmax()] *= -30  # one number
    matrices[-1].raw_data = values.tobytes()
    onnx.save(model, str(path))


def set_in_manifest(**values: object) -> Callable[[Path], None]:
    def damage(plan: Path) -> None:
        path = plan.with_name("model.plan.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


@pytest.mark.parametrize(
    ("stage", "file", "damage", "error", "message"),
    [
        ("onnx", "model.onnx", change_a_weight, ExportError, r"must equal PyTorch with a cosine of at least 0\.99999"),
        ("engine", PLAN, cut_off, GenerationError, r"was built with [\d,]+ bytes, it has [\d,]+ bytes: cut off; build"),
    ],
    ids=["one weight", "truncated plan"],
)
def test_a_damaged_part_refuses_the_export(
    tiny_run: Path,
    tiny_data: Path,
    tmp_path: Path,
    stage: str,
    file: str,
    damage: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    output = tmp_path / "generations"
    with pytest.raises(error, match=message):
        export(tiny_run, tiny_data, output, WITH_PLAN, after(stage, output, file, damage))
    assert not output.exists()


def test_a_plan_of_another_version_refuses_the_export(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    import tensorrt_rtx

    output = tmp_path / "generations"
    report = after("engine", output, PLAN, set_in_manifest(version="1.0.0"))
    message = rf"was built by tensorrt_rtx 1\.0\.0, here is tensorrt_rtx {tensorrt_rtx.__version__}; build it again: "
    with pytest.raises(GenerationError, match=message):
        export(tiny_run, tiny_data, output, WITH_PLAN, report)
    assert not output.exists()


def spoiled_run(tiny_model: Path, tiny_data: Path, folder: Path, spoil: Callable[[BertModel], None]) -> Path:
    """Return a run of the tiny model whose weights were spoiled; they are finite, and float32 works with them."""
    shutil.copytree(tiny_model, folder / "model")
    model = BertModel.from_pretrained(folder / "model")
    with torch.no_grad():
        spoil(model)
    model.save_pretrained(folder / "model")
    recipe = TrainRecipe(
        base_model=str(folder / "model"),
        method="none",
        data=DataRecipe(pairs=str(tiny_data / "pairs.csv"), validation_share=0.2, test_share=0.3),
        text=TextContract(query_max_tokens=16, product_max_tokens=32),
    )
    train(recipe, folder / "run")
    return folder / "run"


def too_large_for_float16(model: BertModel) -> None:
    """Let a layer give millions, which its layer normalisation takes back."""
    for layer in model.encoder.layer:
        layer.intermediate.dense.weight *= 3e4
        layer.output.dense.weight *= 3e4


def too_wide_for_8_bits(model: BertModel) -> None:
    """Give each column two weights that cancel, next to which the others are rounded to nothing."""
    norms = [model.embeddings.LayerNorm]
    for layer in model.encoder.layer:
        norms += [layer.attention.output.LayerNorm, layer.output.LayerNorm]
        attention = layer.attention.self
        for linear in (attention.query, attention.key, attention.value, layer.intermediate.dense):
            linear.weight[:, 2:] *= 20
            linear.weight[:, 0], linear.weight[:, 1] = 1000, -1000
        layer.output.dense.weight *= 30
        layer.attention.output.dense.weight *= 30
    for norm in norms:
        norm.weight[:2], norm.bias[:2] = 0, 1


@pytest.mark.parametrize(
    ("spoil", "precision", "needed", "reason"),
    [
        (
            too_large_for_float16,
            "fp16",
            "what the engine is built from",
            r"float16 holds values up to 65,504, got [\d,]{9,} as \w+",
        ),
        (too_wide_for_8_bits, "int8", "served", r"overlap@10 with float32 must be at least 0\.95, got 0\.\d+"),
    ],
    ids=["fp16 overflows", "int8 ruins ranking"],
)
def test_a_precision_that_fails_refuses_the_export_or_is_left_out(
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    spoil: Callable[[BertModel], None],
    precision: str,
    needed: str,
    reason: str,
) -> None:
    run = spoiled_run(tiny_model, tiny_data, tmp_path, spoil)
    made_only = from_table(PrecisionConfig, {"made": [precision]}, where="test")
    wanted = WITH_PLAN
    if needed == "served":
        wanted = ExportConfig(threads=1, precision=PrecisionConfig(made=("int8",), served="int8"))
    output = tmp_path / "generations"
    with pytest.raises(ExportError, match=rf"{precision} is {needed}, and is not fit for it: {reason}"):
        export(run, tiny_data, output, wanted)
    assert not output.exists()
    made = export(run, tiny_data, output, ExportConfig(threads=1, precision=made_only))
    (found,) = made.manifest.precisions
    assert not found["shipped"]
    assert not made.graph(precision).exists()
    assert next(row["proof"] for row in made.manifest.stages if row["stage"] == precision).startswith("not shipped: ")

"""The arms and how they are trained: what trains, in which precision, with which adapters, from which sources."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

from trident.data.pairs import read_pairs
from trident_train.data.sources import load_sources
from trident_train.model.arms import arm_of
from trident_train.model.encoder import Encoder
from trident_train.recipe import (
    DataRecipe,
    LoraRecipe,
    LossRecipe,
    OptimizerRecipe,
    SourceRecipe,
    TrainRecipe,
)
from trident_train.report.run_folder import load_run
from trident_train.run import train

QUICK = OptimizerRecipe(epochs=2, batch_size=16, learning_rate=1e-2)


def losses(recipe: TrainRecipe, folder: Path) -> list[float]:
    trained = train(recipe, folder).trained
    assert trained is not None
    return [epoch.mean_loss for epoch in trained.epochs]


def test_none_trains_nothing_and_full_all_that_the_loss_reaches(tiny_recipe: TrainRecipe, tiny_model: Path) -> None:
    trainable = {}
    for method in ("none", "full"):
        model = AutoModel.from_pretrained(str(tiny_model))
        arm_of(model, dataclasses.replace(tiny_recipe, method=method))
        trainable[method] = {name for name, weight in model.named_parameters() if weight.requires_grad}
        everything = {name for name, _ in model.named_parameters()}
    assert trainable["none"] == set()
    assert everything - trainable["full"] == {"pooler.dense.weight", "pooler.dense.bias"}


def test_gradient_checkpointing_changes_nothing_but_memory(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    for method in ("lora", "full"):
        plain = dataclasses.replace(tiny_recipe, method=method, optimizer=QUICK)
        again = dataclasses.replace(QUICK, gradient_checkpointing=True)
        checkpointed = dataclasses.replace(plain, optimizer=again)
        found = losses(checkpointed, tmp_path / f"{method}-again")
        assert found == pytest.approx(losses(plain, tmp_path / f"{method}-plain"), abs=1e-6)


def test_bfloat16_trains_float32_weights(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    half = dataclasses.replace(tiny_recipe, optimizer=dataclasses.replace(QUICK, mixed_precision="bf16"))
    found = losses(half, tmp_path / "half")
    whole = losses(dataclasses.replace(tiny_recipe, optimizer=QUICK), tmp_path / "whole")
    assert found == pytest.approx(whole, rel=0.05)
    assert found != whole
    weights = load_run(tmp_path / "half").model.state_dict()
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


def test_float16_on_a_processor_is_refused(
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    run_warm: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    recipe = tmp_path / "half.toml"
    recipe.write_text(f'base_model = "{tiny_model}"\n[data]\npairs = "{tiny_data}/pairs.csv"\n')
    half = ("--set", "optimizer.mixed_precision=fp16")
    outcome = run_warm("train", recipe, "--out", tmp_path / "runs" / "half", *half, CUDA_VISIBLE_DEVICES="")
    assert outcome.returncode == 2
    assert outcome.stderr.splitlines()[-1].startswith(
        "trident: optimizer.mixed_precision 'fp16' needs a GPU, got a CPU: take 'bf16' or 'no'"
    )
    assert outcome.stderr.count("\n") == 2  # behind what was read
    assert not (tmp_path / "runs").exists()


def test_adapters_of_all_layers_train_and_load_in_plain_peft(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    lora = LoraRecipe(rank=4, targets=("all-linear",), dropout=0.1)
    recipe = dataclasses.replace(tiny_recipe, lora=lora, optimizer=QUICK)
    first, second = losses(recipe, tmp_path / "run")
    assert second < first
    plain = AutoModel.from_pretrained(recipe.base_model)
    adapted = PeftModel.from_pretrained(plain, str(tmp_path / "run" / "adapter"))
    encoder = load_run(tmp_path / "run")
    titles = ["Alba sofa red", "Borex lamp"]
    expected = encoder.embed(titles, "product")
    np.testing.assert_allclose(Encoder(adapted, encoder.tokenizer).embed(titles, "product"), expected, atol=1e-6)
    untrained = Encoder.load(Path(recipe.base_model), recipe.text).embed(titles, "product")
    assert not np.allclose(expected, untrained, atol=1e-3)


@pytest.mark.parametrize("name", ["cosine", "infonce"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_every_loss_and_schedule_lowers_the_loss(
    tiny_recipe: TrainRecipe, tmp_path: Path, name: str, schedule: str
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        loss=LossRecipe(name=name),  # type: ignore[arg-type]
        optimizer=dataclasses.replace(QUICK, schedule=schedule, warmup_share=0.1),
    )
    first, second = losses(recipe, tmp_path / "run")
    assert second < first
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    rates = [line["learning_rate"] for line in lines if line["kind"] == "step"]
    assert rates[0] == 0  # the warm-up, of whichever schedule
    assert max(rates) == QUICK.learning_rate
    assert schedule != "constant" or rates[-1] == QUICK.learning_rate


def test_several_sources_are_trained_together_and_judged_apart(
    tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path: Path
) -> None:
    header, *rows = (tiny_data / "pairs.csv").read_text().splitlines()
    for name, words in (("soft", ("sofa", "novel", "lamp", "rake")), ("hard", ("kettle", "toaster", "laptop"))):
        kept = [row for row in rows if row.split(",")[0].endswith(words)]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *kept]))
    shutil.copy(tiny_data / "products.csv", tmp_path)
    data = DataRecipe(
        sources={
            "soft": SourceRecipe(pairs=str(tmp_path / "soft.csv")),
            "hard": SourceRecipe(
                pairs=str(tmp_path / "hard.csv"), catalogue=tmp_path / "products.csv", rank_catalogue=True, repeat=2
            ),
        },
        validation_share=0.2,
        test_share=0.3,
    )
    report = train(dataclasses.replace(tiny_recipe, data=data), tmp_path / "run")
    assert [(row.data, row.name) for row in report.test] == [
        (source, arm) for source in ("soft", "hard") for arm in ("random", "BM25", "pretrained", "lora")
    ]
    assert [row.catalogue is not None for row in report.test] == [False] * 4 + [True] * 4
    assert set(report.pretrained_validation.metrics) == {"soft/roc_auc", "hard/roc_auc"}
    assert set(report.audits) == {"soft", "hard"}
    sources = load_sources(data)
    pooled = read_pairs(tmp_path / "run" / "test.parquet")
    assert len(pooled) == sum(len(source.parts.test) for source in sources)
    assert {product_id.split(":")[0] for product_id in pooled.product_ids} == {"soft", "hard"}
    assert report.trained is not None
    seen = len(sources[0].parts.train) + 2 * len(sources[1].parts.train)
    assert report.trained.epochs[0].pairs == seen

"""Which weights are kept: the best epoch by a chosen metric, at the best scale; what a run says that did not help."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trident.data.catalogue import read_catalogue
from trident.encoder.base_model import find_model
from trident.index.exact_search import exact_search
from trident_train.data.sources import load_sources
from trident_train.loop.batches import tokenize_pairs
from trident_train.loop.loop import Step, Training
from trident_train.loop.selection import Score, validation_score, worst_gain
from trident_train.loop.single_steps import training_of
from trident_train.model.encoder import Encoder
from trident_train.model.negatives import NegativeMiner
from trident_train.recipe import LossRecipe, NegativesRecipe, OptimizerRecipe, SelectionRecipe, TrainRecipe
from trident_train.report.run_folder import load_run
from trident_train.run import train

WORSE = """
base_model = "{model}"
data = {{ pairs = "{data}/pairs.csv", validation_share = 0.2, test_share = 0.3 }}
text = {{ query_max_tokens = 16, product_max_tokens = 32 }}
optimizer = {{ epochs = 1, batch_size = 16, learning_rate = 1e-12 }}
"""


def with_catalogue(recipe: TrainRecipe, data: Path) -> TrainRecipe:
    source = dataclasses.replace(recipe.data, catalogue=data / "products.csv", rank_catalogue=True)
    return dataclasses.replace(recipe, data=source)


def test_the_kept_weights_have_the_score_that_is_reported(
    tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(
        with_catalogue(tiny_recipe, tiny_data),
        optimizer=OptimizerRecipe(epochs=3, batch_size=16, learning_rate=2e-2),
        selection=SelectionRecipe(metrics=("catalogue_ndcg_at_10", "ndcg_at_10"), scales=(0.3, 1.0, 0.6)),
    )
    report = train(recipe, tmp_path / "run")
    assert report.trained is not None
    assert set(report.trained.scales) == {"0.3", "0.6", "1"}
    assert report.trained.best_score == max(report.trained.scales.values())
    assert report.trained.scales[f"{report.trained.best_scale:g}"] == report.trained.best_score
    assert report.trained.scales["1"] == max(epoch.score for epoch in report.trained.epochs)
    again = validation_score(load_run(tmp_path / "run"), load_sources(recipe.data), recipe.selection)
    assert again.value == pytest.approx(report.trained.best_score, abs=1e-6)
    for epoch in report.trained.epochs:
        assert set(epoch.validation) == {"catalogue_ndcg_at_10", "ndcg_at_10"}
        assert epoch.score == pytest.approx(np.mean(list(epoch.validation.values())))
    assert report.test[-1].catalogue is not None
    assert report.test[-1].catalogue.products == 144


def test_the_worst_gain_looks_at_what_fell_most(tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path: Path) -> None:
    selection = SelectionRecipe(metrics=("roc_auc", "catalogue_ndcg_at_10"), rule="worst_gain", scales=(0.3, 1.0))
    recipe = dataclasses.replace(
        with_catalogue(tiny_recipe, tiny_data),
        optimizer=OptimizerRecipe(epochs=2, batch_size=16, learning_rate=2e-2),
        selection=selection,
    )
    report = train(recipe, tmp_path / "run")
    before = report.pretrained_validation
    assert before.value == 0
    assert report.trained is not None
    for epoch in report.trained.epochs:
        gains = [value - before.metrics[name] for name, value in epoch.validation.items()]
        assert epoch.score == min(gains) < max(gains)
    assert report.improved == (report.trained.best_score > 0)
    kept = validation_score(load_run(tmp_path / "run"), load_sources(recipe.data), selection, pretrained=before)
    assert kept.value == pytest.approx(report.trained.best_score, abs=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "gain"),
    [
        ({"a/auc": 0.5, "b/auc": 0.75}, {"a/auc": 0.75, "b/auc": 0.875}, 0.125),
        ({"a/auc": 0.5, "b/auc": 0.75}, {"a/auc": 1.0, "b/auc": 0.5}, -0.25),
        ({"a/auc": 0.5, "b/ndcg": 1.0}, {"a/auc": 0.75, "b/ndcg": 1.0}, 0.25),
        ({"a/auc": 0.5, "b/ndcg": 1.0}, {"a/auc": 0.75, "b/ndcg": 0.5}, -0.5),
        ({"a/auc": 0.5, "b/ndcg": 0.9975}, {"a/auc": 0.75, "b/ndcg": 0.9955}, 0.25),
        ({"a/auc": 0.5, "b/ndcg": 1.0}, {"a/auc": 0.75, "b/ndcg": 0.9375}, -0.0625),
        ({"b/ndcg": 1.0}, {"b/ndcg": 1.0}, 0.0),
    ],
)
def test_what_has_nothing_to_gain_does_not_count(
    before: dict[str, float], after: dict[str, float], gain: float
) -> None:
    assert worst_gain(before, after) == gain


def test_a_scale_is_that_share_of_the_learned_change(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    options = OptimizerRecipe(epochs=1, batch_size=16, learning_rate=1e-3)
    recipe = dataclasses.replace(tiny_recipe, method="full", optimizer=options)
    train(recipe, tmp_path / "whole")
    train(dataclasses.replace(recipe, selection=SelectionRecipe(scales=(0.25,))), tmp_path / "quarter")
    base = load_file(find_model(recipe.base_model) / "model.safetensors")
    whole, quarter = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "quarter"))
    assert any(not torch.equal(base[name], value) for name, value in whole.items())
    for name, value in quarter.items():
        torch.testing.assert_close(value, base[name] + 0.25 * (whole[name] - base[name]))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_mean_of_epochs_that_begin_anew(tiny_recipe: TrainRecipe, method: Literal["lora", "full"]) -> None:
    options = OptimizerRecipe(epochs=3, restarts=True, batch_size=16, learning_rate=1e-2, warmup_share=0.2)
    selection = SelectionRecipe(keep="mean")
    recipe = dataclasses.replace(tiny_recipe, method=method, optimizer=options, selection=selection)
    training, ends, steps = watched(recipe)
    trained = training.run()
    assert trained.keep == "mean"
    kept = trainable(training.encoder)
    for name, value in kept.items():
        torch.testing.assert_close(value, torch.stack([end[name] for end in ends[:3]]).mean(dim=0))
        torch.testing.assert_close(value, ends[3][name])  # the mean is what was scored last
    assert len({step.loss for step in steps}) == len(steps)  # each epoch has other batches
    rates = [[step.learning_rate for step in steps if step.epoch == epoch] for epoch in (1, 2, 3)]
    assert rates[0][-1] < max(rates[0])
    assert rates[0] == rates[1] == rates[2]
    alone, alone_ends, _ = watched(recipe)
    alone.progress.epoch = 3  # as if the others had not been
    alone.run()
    assert all(torch.equal(value, ends[2][name]) for name, value in alone_ends[0].items())


def watched(recipe: TrainRecipe) -> tuple[Training, list[dict[str, torch.Tensor]], list[Step]]:
    """Return a training, and lists that fill while it runs: the weights that are scored, the steps."""
    (source,) = load_sources(recipe.data)
    tokenizer = Encoder.load(find_model(recipe.base_model), recipe.text).tokenizer
    training = training_of(recipe, tokenize_pairs(source.parts.train, tokenizer))
    ends: list[dict[str, torch.Tensor]] = []
    steps: list[Step] = []

    def score(encoder: Encoder) -> Score:
        ends.append(trainable(encoder))
        return Score(value=-float(len(ends)), metrics={})

    training.validate = score
    training.report = lambda event: steps.append(event) if isinstance(event, Step) else None
    return training, ends, steps


def trainable(encoder: Encoder) -> dict[str, torch.Tensor]:
    weights = encoder.model.named_parameters()
    return {name: value.detach().clone() for name, value in weights if value.requires_grad}


def test_a_run_that_keeps_the_mean_says_so(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    options = OptimizerRecipe(epochs=3, restarts=True, batch_size=16, learning_rate=1e-2)
    recipe = dataclasses.replace(tiny_recipe, optimizer=options, selection=SelectionRecipe(keep="mean"))
    report = train(recipe, tmp_path / "run")
    assert report.trained is not None
    again = validation_score(load_run(tmp_path / "run"), load_sources(recipe.data), recipe.selection)
    assert again.value == pytest.approx(report.trained.best_score, abs=1e-6)
    assert "Kept: the mean of the weights of 3 epochs, 100%" in (tmp_path / "run" / "report.html").read_text()


def test_patience_ends_a_run_that_learns_nothing_more(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        optimizer=OptimizerRecipe(epochs=30, batch_size=16, learning_rate=1e-12),
        selection=SelectionRecipe(patience=2),
    )
    report = train(recipe, tmp_path / "run")
    assert report.trained is not None
    assert len(report.trained.epochs) == 3  # the first, and two that are no better
    assert report.trained.best_epoch == 1


def test_a_run_that_did_not_help_says_so_and_exits_1(
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    run_warm: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    recipe = tmp_path / "worse.toml"
    recipe.write_text(WORSE.format(model=tiny_model, data=tiny_data))
    refused = run_warm("train", recipe, "--out", tmp_path / "refused")
    allowed = run_warm("train", recipe, "--out", tmp_path / "allowed", "--allow-worse")
    assert (refused.returncode, allowed.returncode) == (1, 0), refused.stderr
    for outcome in (refused, allowed):
        assert "training did not help: validation score" in outcome.stderr
    assert json.loads((tmp_path / "refused" / "report.json").read_text())["improved"] is False


def test_mined_negatives_are_neighbours_that_nobody_judged(tiny_recipe: TrainRecipe, tiny_data: Path) -> None:
    encoder = Encoder.load(find_model(tiny_recipe.base_model), tiny_recipe.text)
    pairs = load_sources(tiny_recipe.data)[0].parts.train
    catalogue = read_catalogue(tiny_data / "products.csv")
    mined = NegativeMiner(catalogue, encoder).mine(pairs, NegativesRecipe(mined=1, from_rank=5, to_rank=30))
    products = encoder.embed(catalogue.titles, "product")
    rows = sorted({row for row, _ in mined})
    assert {pairs.queries[row] for row in rows} == set(pairs.queries)
    for row in rows:
        query = pairs.queries[row]
        judged = {title for other, title in zip(pairs.queries, pairs.titles, strict=True) if other == query}
        found = {title for number, title in mined if number == row}
        neighbours = exact_search(products, encoder.embed([query], "query"), 30).rows[0].tolist()
        expected = {catalogue.titles[number] for number in neighbours[4:]} - judged
        assert not found & judged
        assert len(found & expected) >= 0.9 * len(expected)  # the index is approximate


def test_mined_negatives_of_many_queries_are_thinned_out_evenly(tiny_recipe: TrainRecipe, tiny_data: Path) -> None:
    """Ten thousand queries with 900 negatives each would not fit into memory."""
    encoder = Encoder.load(find_model(tiny_recipe.base_model), tiny_recipe.text)
    pairs = load_sources(tiny_recipe.data)[0].parts.train
    catalogue = read_catalogue(tiny_data / "products.csv")
    recipe = NegativesRecipe(mined=1, from_rank=5, to_rank=30)
    titles: dict[int, list[str]] = {}
    miner = NegativeMiner(catalogue, encoder)
    for row, title in miner.mine(pairs, recipe):
        titles.setdefault(row, []).append(title)
    expected = [(row, of[place]) for row, of in titles.items() for place in (0, round((len(of) - 1) / 2), -1)]
    assert miner.mine(pairs, recipe, most=3 * len(titles) + 1) == expected


def test_mined_negatives_train(tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        with_catalogue(tiny_recipe, tiny_data),
        loss=LossRecipe(name="infonce", cosent_weight=0.1),
        negatives=NegativesRecipe(mined=2, from_rank=5, to_rank=40),
        optimizer=OptimizerRecipe(epochs=4, batch_size=8, learning_rate=1e-2),
    )
    report = train(recipe, tmp_path / "run")
    assert report.improved

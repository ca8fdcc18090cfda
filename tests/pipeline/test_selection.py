"""Which weights are kept: the best epoch by a chosen metric; what a run says that did not help."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trident.data.catalogue import read_catalogue
from trident.encoder.base_model import find_model
from trident.index.exact_search import exact_search
from trident_train.data.sources import load_sources
from trident_train.loop.selection import validation_score
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
        selection=SelectionRecipe(metrics=("catalogue_ndcg_at_10", "ndcg_at_10")),
    )
    report = train(recipe, tmp_path / "run")
    assert report.trained is not None
    assert report.trained.best_score == max(epoch.score for epoch in report.trained.epochs)
    again = validation_score(load_run(tmp_path / "run"), load_sources(recipe.data), recipe.selection)
    assert again.value == pytest.approx(report.trained.best_score, abs=1e-6)
    for epoch in report.trained.epochs:
        assert set(epoch.validation) == {"catalogue_ndcg_at_10", "ndcg_at_10"}
        assert epoch.score == pytest.approx(np.mean(list(epoch.validation.values())))
    assert report.test[-1].catalogue is not None
    assert report.test[-1].catalogue.products == 144


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


def test_a_judged_product_is_not_mined_under_its_catalogues_title(tiny_recipe: TrainRecipe, tiny_data: Path) -> None:
    """Pairs may have titles of their own; the product is the same."""
    encoder = Encoder.load(find_model(tiny_recipe.base_model), tiny_recipe.text)
    pairs = load_sources(tiny_recipe.data)[0].parts.train
    renamed = dataclasses.replace(pairs, titles=[f"{title}, new" for title in pairs.titles])
    catalogue = read_catalogue(tiny_data / "products.csv")
    recipe = NegativesRecipe(mined=1, from_rank=1, to_rank=30)
    mined = NegativeMiner(catalogue, encoder).mine(renamed, recipe)
    assert mined
    judged = set(zip(pairs.queries, pairs.titles, strict=True))
    assert not {(pairs.queries[row], title) for row, title in mined} & judged


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
        loss=LossRecipe(name="infonce"),
        negatives=NegativesRecipe(mined=2, from_rank=5, to_rank=40),
        optimizer=OptimizerRecipe(epochs=4, batch_size=8, learning_rate=1e-2),
    )
    report = train(recipe, tmp_path / "run")
    assert report.improved

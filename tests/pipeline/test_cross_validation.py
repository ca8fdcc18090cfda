"""Cross-validation: queries outside the test split are held out once a deal; the figures are those of the folds."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from trident.data.pairs import Pairs, normalized_query, read_pairs
from trident.errors import ConfigError, DataError
from trident.quality.metrics import catalogue_ndcg_by_query, ndcg_by_query
from trident_train.cross_validation import CrossValidation, cross_validate, fold_recipe
from trident_train.data.sources import load_sources
from trident_train.judge.evaluate import rank_encoder
from trident_train.recipe import DataRecipe, OptimizerRecipe, SourceRecipe, TrainRecipe
from trident_train.report.run_folder import load_run

FOLDS = 3


def queries_of(pairs: Pairs) -> set[str]:
    return {normalized_query(query) for query in pairs.queries}


@pytest.fixture(scope="module")
def recipe(tiny_recipe: TrainRecipe, tiny_data: Path) -> TrainRecipe:
    """Return the tiny recipe, ranked against its catalogue."""
    data = dataclasses.replace(tiny_recipe.data, catalogue=tiny_data / "products.csv", rank_catalogue=True)
    optimizer = OptimizerRecipe(epochs=1, batch_size=16, learning_rate=2e-2)
    return dataclasses.replace(tiny_recipe, data=data, optimizer=optimizer)


@pytest.fixture(scope="module")
def folder(recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("folds")
    cross_validate(recipe, output, folds=FOLDS, deals=2)
    return output


def test_each_query_is_held_out_once_a_deal_and_the_test_split_never_seen(recipe: TrainRecipe, folder: Path) -> None:
    (source,) = load_sources(recipe.data)
    outside = queries_of(source.parts.train) | queries_of(source.parts.validation)
    dealt = []
    for deal in (1, 2):
        held_out = []
        for fold in range(1, FOLDS + 1):
            pairs = read_pairs(folder / f"deal-{deal}-fold-{fold}.parquet")
            assert queries_of(pairs) == outside
            assert pairs.splits is not None
            parts: dict[str, set[str]] = {}
            for query, split in zip(pairs.queries, pairs.splits, strict=True):
                parts.setdefault(split, set()).add(normalized_query(query))
            assert len(parts["train"] | parts["validation"] | parts["test"]) == sum(map(len, parts.values()))
            tested = read_pairs(folder / f"deal-{deal}-fold-{fold}" / "test.parquet")
            assert queries_of(tested) == parts["test"]
            held_out.append(frozenset(parts["test"]))
        assert sum(map(len, held_out)) == len(outside)
        assert frozenset().union(*held_out) == outside
        dealt.append(set(held_out))
    assert dealt[0].isdisjoint(dealt[1])  # the second deal is another one


def test_no_fold_has_a_query_that_training_tests_by(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    """Pairs that are dropped move the split; a query of one source's test split may be trained on in another."""
    rows = [f"query {number},title {side},{side}" for number in range(200) for side in (0, 1)]
    header = "query,product_title,relevance_label"
    contradicting = [f"query {number},title 0,1\nquery {number},title 1,0" for number in range(0, 200, 9)]
    (tmp_path / "one.csv").write_text("\n".join([header, *rows, *contradicting]))
    (tmp_path / "two.csv").write_text("\n".join([header, *rows[:250]]))
    sources = {name: SourceRecipe(pairs=str(tmp_path / f"{name}.csv")) for name in ("one", "two")}
    for data in (
        DataRecipe(pairs=sources["one"].pairs, contradictions="drop"),
        DataRecipe(sources=sources, contradictions="drop"),
    ):
        tested = set().union(*(queries_of(source.parts.test) for source in load_sources(data)))
        recipe = dataclasses.replace(tiny_recipe, data=data)
        fold = fold_recipe(recipe, tmp_path / "fold", deal=1, part=slice(0, None, FOLDS))
        for name, source in fold.data.by_name().items():
            dealt = queries_of(read_pairs(Path(source.pairs)))
            assert len(dealt) > 50
            assert not dealt & tested, name


def test_the_figures_are_those_of_the_folds(recipe: TrainRecipe, folder: Path) -> None:
    (source,) = load_sources(recipe.data)
    after: dict[str, list[tuple[float, float]]] = {}
    areas = []
    for run in sorted(folder.glob("deal-?-fold-?")):
        tested = read_pairs(run / "test.parquet")
        ranking = rank_encoder(load_run(run), tested, source.catalogue)
        assert ranking.found is not None
        whole = catalogue_ndcg_by_query(tested, ranking.found)
        for query, judged in ndcg_by_query(tested, ranking.scores).items():
            after.setdefault(query, []).append((judged, whole[query]))
        areas.append(ranking.row("", tested).judged.roc_auc.value)
    found = json.loads((folder / "cross_validation.json").read_text())
    (gains,) = found["sources"]
    assert (found["folds"], found["deals"]) == (FOLDS, 2)
    assert gains["roc_auc"][1] == pytest.approx(np.mean(areas), abs=1e-6)
    for place, key in enumerate(("ndcg_at_10", "catalogue_ndcg_at_10")):
        gain = gains[key]
        assert gain["after"] == pytest.approx(np.mean([np.mean(values, axis=0)[place] for values in after.values()]))
        assert gain["queries"] == len(after)
        assert gain["change"]["value"] == pytest.approx(gain["after"] - gain["before"])
        assert gain["change"]["low"] <= gain["change"]["value"] <= gain["change"]["high"]
        assert 0 < gain["better"] + gain["worse"] <= gain["queries"]


def test_a_run_keeps_the_figures_of_each_query(tiny_run: Path) -> None:
    report = json.loads((tiny_run / "report.json").read_text())
    table = pyarrow.parquet.read_table(tiny_run / "test_queries.parquet").to_pandas()
    for row in report["test"]:
        assert table[f"{row['name']} ndcg_at_10"].mean() == pytest.approx(row["judged"]["ndcg_at_10"], abs=1e-6)
        assert table[f"{row['name']} catalogue_ndcg_at_10"].isna().all()  # it ranks no catalogue
    assert len(table) == report["test"][0]["judged"]["queries"]


def test_several_sources_are_dealt_out_alike(tiny_recipe: TrainRecipe, two_sources: DataRecipe, tmp_path: Path) -> None:
    optimizer = OptimizerRecipe(epochs=1, batch_size=16)
    result = cross_validate(dataclasses.replace(tiny_recipe, data=two_sources, optimizer=optimizer), tmp_path, folds=2)
    assert [(gains.data, gains.catalogue_ndcg_at_10 is None) for gains in result.sources] == [
        (name, source.catalogue is None or not source.rank_catalogue) for name, source in two_sources.sources.items()
    ]
    assert len(list(tmp_path.glob("*.parquet"))) == 2 * len(two_sources.sources)


def test_what_is_finished_is_not_trained_again(recipe: TrainRecipe, folder: Path, tmp_path: Path) -> None:
    begun: list[str] = []
    again = cross_validate(recipe, folder, folds=FOLDS, deals=2, begin=begun.append)
    assert begun == []
    assert isinstance(again, CrossValidation)
    other = dataclasses.replace(recipe, seed=recipe.seed + 1)
    written = (folder / "deal-1-fold-1.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"deal-1-fold-1 must be of the same recipe, got another one: choose another"):
        cross_validate(other, folder, folds=FOLDS, deals=2)
    changed = tmp_path / "pairs.csv"
    changed.write_text("".join(Path(recipe.data.pairs).read_text().splitlines(keepends=True)[:-1]))
    fewer = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, pairs=str(changed)))
    with pytest.raises(DataError, match=r"deal-\d-fold-\d must be of the same pairs, got others: choose another --out"):
        cross_validate(fewer, folder, folds=FOLDS, deals=2)
    assert (folder / "deal-1-fold-1.parquet").read_bytes() == written


def test_refusals(recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs folds >= 2 and deals >= 1, got 1 and 1"):
        cross_validate(recipe, tmp_path / "a", folds=1)
    with pytest.raises(ConfigError, match='needs a method that trains, got method = "none"'):
        cross_validate(dataclasses.replace(recipe, method="none"), tmp_path / "a", folds=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="runs in one process, got a launcher with several"):
        cross_validate(recipe, tmp_path / "a", folds=2)
    assert not (tmp_path / "a").exists()


def test_the_command_prints_a_table(
    run_warm: Callable[..., subprocess.CompletedProcess[str]], tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'base_model = "{tiny_model}"\n'
        f'[data]\npairs = "{tiny_data}/pairs.csv"\ncatalogue = "{tiny_data}/products.csv"\n'
        "rank_catalogue = true\nvalidation_share = 0.2\ntest_share = 0.3\n[optimizer]\nepochs = 1\nbatch_size = 16\n"
    )
    done = run_warm("cross-validate", str(recipe), "--out", str(tmp_path / "folds"), "--folds", "2")
    assert done.returncode == 0, done.stderr
    assert "deal 1 of 1, fold 2 of 2" in done.stderr
    for word in (
        "pretrained",
        "lora",
        "catalogue NDCG@10",
        "ROC-AUC, mean over folds",
        "queries with a relevant product",
    ):
        assert word in done.stdout

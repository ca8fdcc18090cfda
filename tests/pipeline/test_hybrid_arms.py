"""Where catalogues are ranked, a run's table has what an export would serve: BM25 tuned, and vectors with words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.pairs import Pairs, read_pairs
from trident.lexical.index import LexicalConfig
from trident.lexical.postings import Bm25
from trident_train.judge.evaluate import CLASSIC, rank_bm25, rank_encoder
from trident_train.judge.hybrid import HybridData, rank_hybrid, tuned_bm25
from trident_train.recipe import TrainRecipe
from trident_train.report.report import TrainReport
from trident_train.report.run_folder import TRAINED_WORDS_FILE, load_run
from trident_train.run import train


@pytest.fixture(scope="module")
def run(
    tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainReport]:
    folder = tmp_path_factory.mktemp("ranked") / "run"
    data = dataclasses.replace(tiny_recipe.data, catalogue=tiny_data / "products.csv", rank_catalogue=True)
    optimizer = dataclasses.replace(tiny_recipe.optimizer, epochs=1)
    return folder, train(dataclasses.replace(tiny_recipe, data=data, optimizer=optimizer), folder)


def test_the_table_has_a_row_for_each_stage(run: tuple[Path, TrainReport]) -> None:
    folder, report = run
    names = ["random", "BM25", "BM25 tuned", "pretrained", "lora", "hybrid"]
    assert [row.name for row in report.test] == names
    for row in report.test:
        whole = row.catalogue
        assert whole is not None
        assert whole.ndcg_low is not None
        assert whole.ndcg_high is not None
        assert whole.judged_at_10 is not None
        assert 0 <= whole.ndcg_low <= whole.ndcg_at_10 <= whole.ndcg_high <= 1
        assert 0 <= whole.judged_at_10 <= 1
    page = (folder / "report.html").read_text("utf-8")
    assert all(f">{name}</th>" in page for name in names)
    saved = json.loads((folder / "report.json").read_text("utf-8"))["test"][-1]
    assert saved["catalogue"]["judged_at_10"] == report.test[-1].catalogue.judged_at_10  # type: ignore[union-attr]
    words = (folder / TRAINED_WORDS_FILE).read_text("utf-8").split()
    assert words == sorted(set(words))


def test_bm25_ranks_by_the_index_that_serves(run: tuple[Path, TrainReport], tiny_data: Path) -> None:
    folder, _ = run
    pairs, catalogue = read_pairs(folder / "test.parquet"), read_catalogue(tiny_data / "products.csv")
    ranking = rank_bm25(pairs, catalogue)
    assert CLASSIC.bm25 == Bm25(k1=1.5, b=0.75)
    assert ranking.found is not None
    for query, found in ranking.found.items():
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0 for score in scores), query
    other = rank_bm25(pairs, catalogue, LexicalConfig(bm25=Bm25(k1=0.1, b=0.0)))
    assert not np.array_equal(other.scores, ranking.scores)


def test_a_hybrid_without_validation_goes_by_ranks(run: tuple[Path, TrainReport], tiny_data: Path) -> None:
    folder, _ = run
    encoder, pairs = load_run(folder), read_pairs(folder / "test.parquet")
    catalogue: Catalogue = read_catalogue(tiny_data / "products.csv")
    nothing: Pairs = pairs.take([])
    assert tuned_bm25(nothing, catalogue) == LexicalConfig()
    products = encoder.embed(catalogue.titles, "product")
    dense = rank_encoder(encoder, pairs, catalogue, products=products)
    plain = rank_encoder(encoder, pairs, catalogue)
    np.testing.assert_allclose(dense.scores, plain.scores, atol=1e-5)
    ranking = rank_hybrid(encoder, HybridData(nothing, pairs, catalogue), LexicalConfig(), products, dense)
    assert ranking.found is not None
    assert {len(found) for found in ranking.found.values()} == {100}
    assert ranking.found != dense.found
    assert ranking.scores.min() >= 0
    assert ranking.scores.max() <= 1

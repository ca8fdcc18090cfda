"""Trees over what the stages say: features by hand, what is refused, and the same scores in every batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.encoder.base_model import file_sha256
from trident.errors import GenerationError, MissingExtraError
from trident.ranking.trees import FEATURES, TREES_FILE, Signals, Trees, feature_names, load_lightgbm, tree_features

ROWS = np.random.default_rng(0).normal(size=(400, len(FEATURES)))


def booster(features: tuple[str, ...] = FEATURES, table: np.ndarray = ROWS) -> Any:
    """Return trees that put the higher logit first."""
    lightgbm = load_lightgbm()
    rows = table[:, : len(features)]
    labels = (rows[:, 1] > 0.4).astype(int)
    settings = {"objective": "lambdarank", "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1, "seed": 0}
    data = lightgbm.Dataset(rows, label=labels, group=[20] * 20, feature_name=list(features))
    return lightgbm.train(settings, data, num_boost_round=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("trees")
    (found / TREES_FILE).write_text(booster().model_to_string())
    return found


def test_features_are_what_is_seen() -> None:
    cosines, logits = np.array([0.9, 0.8], dtype=np.float32), np.array([2.0, -1.0], dtype=np.float32)
    signals = Signals(cosines, logits, np.array([0.7, 0.75], dtype=np.float32), [3.25, 0.0])
    titles = ["sony headphones 3.5", "A WH1000 cable, 35 mm"]
    found = tree_features("Sony WH1000 3.5 mm", titles, signals)
    named = [dict(zip(FEATURES, row, strict=True)) for row in found.tolist()]
    assert [each["cosine"] for each in named] == pytest.approx([0.9, 0.8])
    assert [each["logit"] for each in named] == [2.0, -1.0]
    assert [each["first"] for each in named] == pytest.approx([0.7, 0.75])
    assert [each["bm25"] for each in named] == [3.25, 0.0]
    assert [each["place"] for each in named] == [0.0, 1.0]
    assert [each["words_shared"] for each in named] == [0.5, 0.5]
    assert [each["models_shared"] for each in named] == [0.0, 1.0]
    assert [(each["words_of_query"], each["words_of_title"]) for each in named] == [(4.0, 3.0), (4.0, 5.0)]
    none = Signals(cosines[:1], logits[:1], cosines[:1], [None])
    (missing,) = tree_features("sofa", ["red sofa"], none).tolist()
    absent = {name for name, value in zip(FEATURES, missing, strict=True) if np.isnan(value)}
    assert absent == {"bm25", "numbers_shared", "models_shared"}
    assert tree_features("sofa", [], Signals(cosines[:0], logits[:0], cosines[:0], [])).shape == (0, len(FEATURES))


def test_scores_are_the_same_alone_and_in_a_batch(folder: Path) -> None:
    trees = Trees.load(folder, sha256=file_sha256(folder / TREES_FILE))
    scores = trees.score(ROWS)
    assert scores.dtype == np.float32
    assert np.array_equal(np.concatenate([trees.score(row[None]) for row in ROWS[:40]]), scores[:40])
    assert np.array_equal(trees.score(ROWS[::-1]), scores[::-1])
    high = ROWS[:, 1] > 0.4
    assert scores[high].mean() > scores[~high].mean()
    assert trees.score(ROWS[:0]).shape == (0,)


def test_trees_of_others_are_refused(folder: Path, tmp_path: Path) -> None:
    sha256 = file_sha256(folder / TREES_FILE)
    with pytest.raises(GenerationError, match="are missing, which the generation has: export again"):
        Trees.load(tmp_path, sha256=sha256)
    (tmp_path / TREES_FILE).write_text((folder / TREES_FILE).read_text() + "damage")
    with pytest.raises(GenerationError, match=f"must be those of the generation, {sha256[:12]}, got "):
        Trees.load(tmp_path, sha256=sha256)
    (tmp_path / TREES_FILE).write_text(booster(("cosine", "logit", "luck")).model_to_string())
    with pytest.raises(GenerationError, match=r"must be of the features cosine, .*, got cosine, logit, luck: an"):
        Trees.load(tmp_path, sha256=file_sha256(tmp_path / TREES_FILE))


def test_attributes_are_features_behind_the_others(tmp_path: Path) -> None:
    """By name in the trees' own file; a product without a value has none, and another name is refused."""
    signals = Signals(
        ROWS[:3, 0].astype(np.float32),
        ROWS[:3, 1].astype(np.float32),
        ROWS[:3, 0].astype(np.float32),
        [None] * 3,
        [{"price": 9.5, "rating": 4}, {"price": None, "rating": 3}, {"rating": 0}],
    )
    found = tree_features("sofa", ["red sofa", "lamp", "desk"], signals, ("rating", "price"))
    assert found.shape == (3, len(FEATURES) + 2)
    assert found[:, -2].tolist() == [4.0, 3.0, 0.0]
    assert found[0, -1] == 9.5
    assert np.isnan(found[1:, -1]).all()
    names = tuple(feature_names(("rating", "price")))
    rows = np.concatenate([ROWS, ROWS[:, :2]], axis=1)
    (tmp_path / TREES_FILE).write_text(booster(names, rows).model_to_string())
    trees = Trees.load(tmp_path, sha256=file_sha256(tmp_path / TREES_FILE))
    assert trees.attributes == ("rating", "price")
    (tmp_path / TREES_FILE).write_text(booster((*FEATURES, "luck"), rows).model_to_string())
    with pytest.raises(GenerationError, match=r"and of attributes, got cosine, .*, luck: another version"):
        Trees.load(tmp_path, sha256=file_sha256(tmp_path / TREES_FILE))


def test_without_the_library_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)  # as Python keeps what cannot be imported
    with pytest.raises(MissingExtraError, match=r"trees need LightGBM, which is not installed; install it"):
        load_lightgbm()

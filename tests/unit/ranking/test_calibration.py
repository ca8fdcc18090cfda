"""Maps from scores to probabilities: fitted, strictly monotone, bound to their generation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from trident.encoder.base_model import file_sha256
from trident.errors import ConfigError, DataError, GenerationError
from trident.ranking.calibration import DENSE, Calibration, ScoreMap
from trident.ranking.fitting import fit_map

PLATT = ScoreMap(kind="platt", first=9.0, offset=-4.0)
BETA = ScoreMap(kind="beta", first=8.0, second=1.5, offset=-1.0)
BENT = ScoreMap(kind="bent", first=1.6, second=0.4, offset=0.3, centre=0.4, width=0.1)


def drawn(true: ScoreMap, count: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, labels drawn with the chances of a map, and numbers of queries with 20 candidates each."""
    generator = np.random.default_rng(5)
    scores = generator.uniform(-0.2, 0.95, count).astype(np.float32)
    labels = (generator.random(count) < true.probability(scores)).astype(np.int8)
    return scores, labels, np.arange(count) // 20


@pytest.mark.parametrize("true", [PLATT, BETA])
def test_the_chances_that_labels_were_drawn_with_are_found(true: ScoreMap) -> None:
    scores, labels, queries = drawn(true)
    fitted = fit_map(scores, labels, queries, kinds=("platt", "beta"))
    points = np.linspace(-0.1, 0.9, 11)
    assert np.abs(fitted.probability(points) - true.probability(points)).max() < 0.05


@pytest.mark.parametrize("one", [PLATT, BETA, BENT])
def test_a_threshold_on_probabilities_is_one_on_scores(one: ScoreMap) -> None:
    for probability in (0.0, 0.02, 0.3, 0.5, 0.9, 1.0):
        score = np.float32(one.score_at(probability))
        if score <= 1:
            assert one.probability(np.array([score]))[0] >= probability
        if -1 < score <= 1:
            below = np.nextafter(score, np.float32(-2.0))
            assert one.probability(np.array([below]))[0] < probability
    assert one.score_at(0.0) == -1.0
    assert one.score_at(1.0) > 1.0


def test_where_chances_bend_a_map_with_a_bend_is_found() -> None:
    scores, labels, queries = drawn(BENT)
    points = np.linspace(-0.1, 0.9, 41)
    errors = {
        kinds: np.abs(
            fit_map(scores, labels, queries, kinds=kinds).probability(points) - BENT.probability(points)
        ).max()
        for kinds in (("platt",), ("platt", "bent"))
    }
    assert errors["platt", "bent"] < 0.04 < 0.06 < errors[("platt",)]


def test_logits_far_away_keep_their_order() -> None:
    scores = np.array([-40.0, -20.0, -3.0, 0.4, 3.0, 20.0, 40.0])
    assert (np.diff(BENT.log_odds(scores)) > 0).all()
    assert BENT.log_odds(np.array([2.0, 3.0])) == pytest.approx([0.4 * 16 + 0.3, 0.4 * 26 + 0.3], abs=1e-5)
    assert BENT.log_odds(np.array([-2.0])) == pytest.approx([-1.6 * 24 + 0.3], abs=1e-5)


@pytest.mark.parametrize("one", [PLATT, BETA, BENT])
def test_neighbouring_cosines_keep_their_order(one: ScoreMap) -> None:
    scores = np.float32(0.7) + np.arange(100, dtype=np.float32) * np.float32(2**-24)
    assert (np.diff(one.probability(np.unique(scores))) > 0).all()


@pytest.mark.parametrize(
    "numbers",
    [
        {"kind": "platt", "first": -1.0, "offset": 0.0},
        {"kind": "platt", "first": 0.0, "offset": 0.0},
        {"kind": "platt", "first": 0.0, "second": 2.0, "offset": 0.0},  # what a map of two features would use
        {"kind": "beta", "first": 2.0, "second": -0.5, "offset": 0.0},
        {"kind": "platt", "first": float("nan"), "offset": 0.0},
        {"kind": "platt", "first": 1e-30, "offset": 1.0},
        {"kind": "bent", "first": 1.0, "offset": 0.0},  # flat above its centre
        {"kind": "bent", "first": 1.0, "second": 1.0, "offset": 0.0, "width": 0.0},
    ],
)
def test_a_map_that_is_not_monotone_is_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="a calibration must be strictly monotone, a higher score the likelier, got"):
        ScoreMap(**numbers)  # type: ignore[arg-type]


def test_a_map_that_says_0_or_1_of_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match="log-odds of a calibration must be at most 500, got platt with 9000, 0 and"):
        ScoreMap(kind="platt", first=9000.0, offset=0.0)


def test_too_little_to_fit_is_refused() -> None:
    scores, labels, queries = drawn(PLATT, 200)
    with pytest.raises(DataError, match=r"needs 15 validation queries with 20 relevant .* got 10 with "):
        fit_map(scores, labels, queries, kinds=("platt",))


@pytest.mark.parametrize("kinds", [("platt",), ("beta",), ("bent",)])
def test_scores_that_mean_the_opposite_are_refused(kinds: tuple) -> None:
    scores, labels, queries = drawn(PLATT)
    with pytest.raises(DataError, match="needs relevant candidates that score higher than others, got the opposite"):
        fit_map(-scores, labels, queries, kinds=kinds)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str]:
    """Return a folder with a calibration, and its hash."""
    return tmp_path, file_sha256(Calibration(maps={DENSE: BETA}).save(tmp_path))


def test_a_calibration_comes_back_as_it_was_saved(saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    assert Calibration.load(folder, sha256=sha256).of(DENSE) == BETA
    assert Calibration.load(folder, sha256="").of(DENSE) is None


def test_a_missing_calibration_is_refused(saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    (folder / "calibration.json").unlink()
    with pytest.raises(GenerationError, match="is missing, which the generation has: export again"):
        Calibration.load(folder, sha256=sha256)


def test_the_calibration_of_another_generation_is_refused(saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    Calibration(maps={DENSE: PLATT}).save(folder)
    with pytest.raises(GenerationError, match=f"must be that of the generation, {sha256[:12]}, got "):
        Calibration.load(folder, sha256=sha256)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "is damaged: "),
        ("[]", "is damaged: "),
        (json.dumps({"dense": {**asdict(BETA), "first": -8.0}}), "is damaged: a calibration must be strictly monotone"),
        (json.dumps({"dense": {"kind": "platt"}}), "is damaged: key 'first' is required"),
        (json.dumps({"luck": asdict(PLATT)}), "has a map for 'luck', known are dense, reranker, trees"),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(table)
    with pytest.raises(GenerationError, match=message):
        Calibration.load(tmp_path, sha256=file_sha256(path))

"""An export that has enough validation queries says what its scores mean, and the gate holds it to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from trident.data.pairs import read_pairs
from trident.errors import GenerationError
from trident.generation.generation import Generation
from trident.quality.config import GateConfig
from trident.quality.gate import run_gate
from trident.ranking.calibration import CALIBRATION_FILE, DENSE, Calibration
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher
from trident_export.config import ExportConfig, LexicalOptions, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_train.recipe import TrainRecipe
from trident_train.run import train

GATE = GateConfig(threads=1, latency_ratio=50.0)


@pytest.fixture(scope="module")
def calibrated(tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Return a generation of a run with 17 validation queries, whose every relevant product is known."""
    folder = tmp_path_factory.mktemp("calibrated")
    data = replace(tiny_recipe.data, validation_share=0.35, every_positive_known=True)
    train(replace(tiny_recipe, data=data), folder / "run")
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()), lexical=LexicalOptions(mode="dense"))
    return export_generation(ExportOrder(folder / "run", tiny_data / "products.csv", folder / "generations", config))


def test_scores_of_an_export_have_probabilities(calibrated: Generation) -> None:
    judged = calibrated.manifest.quality["calibration"]
    assert judged["every_positive_known"]
    assert 0 <= judged[DENSE]["error"]["low"] <= judged[DENSE]["error"]["value"] <= 1
    assert judged[DENSE]["by_length"]["2 words"]["candidates"] == judged[DENSE]["candidates"]
    assert (calibrated.folder / "calibration-dense.svg").read_text("utf-8").startswith("<svg ")
    assert calibrated.manifest.parts["calibration"]
    (row,) = [row for row in calibrated.manifest.stages if row["stage"] == "calibration"]
    assert row["proof"].startswith("dense: calibration error 0.")
    query = calibrated.golden()[0].query
    hits = Searcher.load(calibrated).search([query], [SearchKnobs(k=4)])
    chances = json.loads(hits.details[0, 0])["probability"]
    folder = calibrated.version_folder("retriever")
    cosines = Calibration.load(folder, sha256=calibrated.manifest.parts["calibration"]).of(DENSE)
    assert cosines is not None
    assert chances == pytest.approx(cosines.probability(hits.scores[0]).tolist(), abs=1e-6)


def test_the_gate_compares_probabilities(calibrated: Generation, generation: Generation) -> None:
    report = run_gate(calibrated, calibrated, GATE)
    (check,) = [check for check in report.checks if check.name == "calibration_brier"]
    assert (check.passed, check.value) == (True, 0.0)
    lost = run_gate(generation, calibrated, GATE)
    (check,) = [check for check in lost.failures() if check.name == "calibration"]
    assert "the serving generation has probabilities, and so must the candidate" in check.line()


@pytest.mark.parametrize("fault", ["missing", "falling"])
def test_a_generation_without_its_calibration_is_refused(calibrated: Generation, tmp_path: Path, fault: str) -> None:
    copy = Generation.load(Path(shutil.copytree(calibrated.folder, tmp_path / calibrated.id)))
    path = copy.version_folder("retriever") / CALIBRATION_FILE
    if fault == "missing":
        path.unlink()
    else:
        table = json.loads(path.read_text("utf-8"))
        table[DENSE] |= {"first": -table[DENSE]["first"], "second": 0.0}
        path.write_text(json.dumps(table))
    expected = {"missing": "is missing", "falling": "a calibration must be strictly monotone, a higher score the lik"}
    with pytest.raises(GenerationError, match=expected[fault]):
        Searcher.load(copy)
    with pytest.raises(GenerationError, match=f"{CALIBRATION_FILE} (is missing|must have|was changed)"):
        copy.check_files()


def test_too_few_validation_queries_give_no_probabilities(generation: Generation, tiny_run: Path) -> None:
    assert len(set(read_pairs(tiny_run / "validation.parquet").queries)) == 10
    assert "calibration" not in generation.manifest.parts
    (row,) = [row for row in generation.manifest.stages if row["stage"] == "calibration"]
    assert row["proof"].startswith("dense: none, a calibration needs 15 validation queries with 20 relevant ")

"""The gate over real tiny generations: what passes, and each thing that a generation is refused for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trident.data.pairs import Pairs, read_pairs
from trident.errors import ConfigError, GenerationError
from trident.generation.generation import Generation, find_generation
from trident.generation.golden import save_golden
from trident.quality.config import GateConfig
from trident.quality.gate import record_gate, require, run_gate
from trident.quality.gate_report import GateError, GateReport

CONFIG = GateConfig(threads=1, latency_ratio=50.0)  # how long things take is tested apart
ABSOLUTE = ["golden", "index_vectors", "recall_at_10", "overlap_at_10"]
AGAINST = [
    "roc_auc", "ndcg_at_10", "golden_roc_auc", "golden_ndcg_at_10", "catalogue_ndcg_at_10", "latency_ratio",
]  # fmt: skip


@pytest.fixture
def copy(generation: Generation, tmp_path: Path) -> Generation:
    return Generation.load(Path(shutil.copytree(generation.folder, tmp_path / generation.id)))


@pytest.fixture(scope="module")
def passed(tiny_generations: Path) -> GateReport:
    generation = find_generation(tiny_generations)
    return run_gate(generation, generation, CONFIG)


def names(report: GateReport) -> list[str]:
    return [check.name for check in report.failures()]


def failed(report: GateReport, name: str) -> str:
    """Return the line of the check that failed."""
    (line,) = [check.line() for check in report.failures() if check.name == name]
    assert line in report.refusal()
    return line


def with_scaled_words(source: Path, output: Path, factor: float) -> None:
    """Write a graph with other word embeddings and the same fingerprint."""
    model = onnx.load(str(source))
    (words,) = [tensor for tensor in model.graph.initializer if "word_embeddings" in tensor.name]
    value = numpy_helper.to_array(words) * np.float32(factor)
    words.CopyFrom(numpy_helper.from_array(value, words.name))
    onnx.save(model, str(output))


def test_a_generation_passes_against_itself(passed: GateReport, generation: Generation) -> None:
    assert passed.passed
    assert (passed.candidate, passed.serving) == (generation.id, generation.id)
    assert [check.name for check in passed.checks] == ABSOLUTE + AGAINST
    assert passed.notes == ()
    judged = generation.manifest.quality
    figures = {check.name: check for check in passed.checks}
    assert figures["roc_auc"].candidate == pytest.approx(judged["judged"]["roc_auc"]["value"], abs=1e-6)
    assert figures["ndcg_at_10"].serving == pytest.approx(judged["judged"]["ndcg_at_10"], abs=1e-6)
    assert figures["catalogue_ndcg_at_10"].serving == pytest.approx(judged["catalogue"]["ndcg_at_10"], abs=1e-6)
    assert (figures["roc_auc"].value, figures["roc_auc"].low, figures["roc_auc"].high) == (0, 0, 0)
    assert json.loads(json.dumps(passed.to_json(), allow_nan=False))["passed"]


def test_without_a_serving_generation_only_absolute_checks_are_made(generation: Generation) -> None:
    report = run_gate(generation, None, replace(CONFIG, latency_budget_ms=60_000.0))
    assert report.passed
    assert [check.name for check in report.checks] == [*ABSOLUTE, "latency_ms"]
    assert report.notes == ("no generation is serving: quality and latency were compared with none",)


def test_a_slow_candidate_is_refused(generation: Generation) -> None:
    report = run_gate(generation, generation, replace(CONFIG, latency_ratio=1e-3, latency_budget_ms=1e-6))
    assert names(report) == ["latency_ms", "latency_ratio"]
    assert "median milliseconds of a query must be at most 1e-06, got" in failed(report, "latency_ms")
    assert "must be at most 0.001 times the serving generation's (" in failed(report, "latency_ratio")
    ratio = report.checks[-1]
    assert ratio.candidate is not None
    assert ratio.serving is not None
    assert ratio.value == pytest.approx(ratio.candidate / ratio.serving)


def test_edited_golden_answers_are_refused(copy: Generation) -> None:
    first, *others = copy.golden()
    save_golden([replace(first, product_ids=first.product_ids[::-1]), *others], copy.folder / "golden.json")
    report = run_gate(copy, None, CONFIG)
    assert names(report) == ["golden"]
    assert f"none may be answered otherwise than at the export ('{first.query}': place 1" in failed(report, "golden")


def test_a_graph_that_did_not_make_the_index_is_refused_whatever_its_fingerprint(copy: Generation) -> None:
    with_scaled_words(copy.cpu_graph(), copy.cpu_graph(), -1.0)
    report = run_gate(copy, None, CONFIG)
    assert {"golden", "index_vectors"} <= set(names(report))
    assert "in the index must be this encoder's, smallest cosine 0.999, got" in failed(report, "index_vectors")


def test_a_served_graph_that_finds_other_products_than_float32_is_refused(copy: Generation) -> None:
    with_scaled_words(copy.cpu_graph(), copy.cpu_graph("int8"), -1.0)
    served = Generation(copy.folder, replace(copy.manifest, parts=copy.manifest.parts | {"served": "int8"}))
    report = run_gate(served, None, CONFIG)
    assert set(names(report)) == {"golden", "overlap_at_10"}  # the index is that of float32 still
    assert "must be those of float32 and exact search in a share of at least 0.9, got 0." in failed(
        report, "overlap_at_10"
    )


def rewrite_pairs(generation: Generation, labels: Sequence[int]) -> None:
    pairs = read_pairs(generation.folder / "test.parquet")
    values = np.array(labels, dtype=np.int8)
    Pairs(pairs.queries, pairs.titles, values, values.astype(np.float32), pairs.product_ids).save(
        generation.folder / "test.parquet"
    )


def test_what_cannot_be_compared_is_noted(copy: Generation, generation: Generation) -> None:
    rewrite_pairs(copy, [0] * len(copy_pairs(copy)))
    other = Generation(copy.folder, replace(copy.manifest, parts=copy.manifest.parts | {"catalogue": "0" * 64}))
    report = run_gate(other, generation, CONFIG)
    assert [check.name for check in report.checks] == [*ABSOLUTE, "latency_ratio"]
    held_out, golden, catalogue = report.notes
    assert held_out.startswith("quality on the held-out pairs was not compared: ROC-AUC needs relevant and irrelevant")
    assert golden.startswith("quality on the golden queries was not compared: ROC-AUC needs")
    assert catalogue.endswith("was not compared: the two generations have different catalogues")


def copy_pairs(generation: Generation) -> Pairs:
    return read_pairs(generation.folder / "test.parquet")


def test_judgements_of_golden_queries_come_from_both_sides(copy: Generation, generation: Generation) -> None:
    pairs = copy_pairs(copy)
    first = pairs.queries[0]
    pairs.take(row for row, query in enumerate(pairs.queries) if query == first).save(copy.folder / "test.parquet")
    save_golden([copy.golden()[0]], copy.folder / "golden.json")
    report = run_gate(copy, generation, CONFIG)
    figures = {check.name: check for check in report.checks}
    assert figures["roc_auc"].candidate != figures["golden_roc_auc"].candidate
    everything = generation.manifest.quality["judged"]["roc_auc"]["value"]
    assert figures["golden_roc_auc"].candidate == pytest.approx(everything, abs=1e-6)  # the others' 14 queries


def test_products_outside_the_catalogue_are_embedded(copy: Generation, generation: Generation) -> None:
    pairs = copy_pairs(copy)
    renamed = replace(
        pairs,
        titles=[f"{title} novel" for title in pairs.titles],
        product_ids=[f"x{number}" for number in pairs.product_ids],
    )
    renamed.save(copy.folder / "test.parquet")
    report = run_gate(copy, generation, CONFIG)
    assert [check.name for check in report.checks if check.name.endswith("roc_auc")] == ["roc_auc", "golden_roc_auc"]
    assert report.notes == (
        "quality over the catalogue was not compared: no relevant product of the held-out pairs is in the catalogue",
    )
    assert names(report) == ["catalogue_products"]  # the figure that the serving generation has is missing
    assert "one must be in the catalogue, since the serving generation has figures over its own" in failed(
        report, "catalogue_products"
    )


def test_golden_queries_that_nobody_judged_are_noted(copy: Generation) -> None:
    save_golden([replace(answer, query=f"{answer.query} zz") for answer in copy.golden()], copy.folder / "golden.json")
    report = run_gate(copy, copy, CONFIG)
    assert "quality on the golden queries was not compared: none of them is judged" in report.notes


def test_a_refusal_leaves_its_numbers_and_a_reason_overrules_it(
    passed: GateReport, copy: Generation, tmp_path: Path
) -> None:
    path = tmp_path / "serving" / "refusal.json"
    require(passed, refusal_path=path, force=None)
    slow = replace(passed, checks=(replace(passed.checks[0], passed=False), *passed.checks[1:]))
    require(slow, refusal_path=path, force="the old one is broken")
    assert not path.exists()
    with pytest.raises(
        GateError, match=r"the gate refuses generation .*, judged against .*: golden: .*--force"
    ) as error:
        require(slow, refusal_path=path, force=None)
    assert error.value.report is slow
    assert json.loads(path.read_text()) == json.loads(json.dumps(slow.to_json()))
    assert [each.name for each in path.parent.iterdir()] == ["refusal.json"]
    with pytest.raises(ConfigError, match="--force needs a reason, which is kept in the manifest, got an empty one"):
        require(slow, refusal_path=path, force="  ")


def test_reports_are_added_to_the_manifest_on_disk(passed: GateReport, copy: Generation) -> None:
    slow = replace(passed, checks=(replace(passed.checks[0], passed=False), *passed.checks[1:]))
    before = copy.manifest
    once = record_gate(copy, passed, by="promote", force="not needed")
    twice = record_gate(once, slow, by="promote", force="the old one is broken")
    assert twice.manifest == Generation.load(copy.folder).manifest
    assert replace(twice.manifest, gate=before.gate) == before
    entries = twice.manifest.gate[len(before.gate) :]
    assert [(entry["passed"], entry["forced"]) for entry in entries] == [
        (True, None), (False, "the old one is broken"),
    ]  # fmt: skip
    assert [check["name"] for check in entries[1]["checks"]] == [check.name for check in slow.checks]
    twice.verify_files()
    assert [path.name for path in copy.folder.parent.iterdir()] == [copy.id]
    (copy.folder / "manifest.json").write_text("{")
    with pytest.raises(GenerationError, match="is damaged"):
        record_gate(copy, passed, by="promote", force=None)

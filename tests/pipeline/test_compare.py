"""Comparing real tiny runs: the table's numbers, LoRA against full, what is refused, the picture, the command."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.config import to_table
from trident.data.pairs import Pairs, read_pairs
from trident.encoder.text import TextContract
from trident.errors import ConfigError, DataError, ModelError, TridentError
from trident_train.recipe import DataRecipe, OptimizerRecipe, SourceRecipe, TrainRecipe
from trident_train.report.compare import compare_runs
from trident_train.report.comparison_plot import save_plot
from trident_train.run import train


@pytest.fixture(scope="module")
def runs(tiny_run: Path, tiny_recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a LoRA, a full and an untrained run of one test split."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(tiny_run, folder / "adapted")
    optimizer = OptimizerRecipe(epochs=2, batch_size=16, learning_rate=1e-3)
    train(dataclasses.replace(tiny_recipe, method="full", optimizer=optimizer), folder / "whole")
    train(dataclasses.replace(tiny_recipe, method="none"), folder / "untrained")
    return [folder / name for name in ("adapted", "whole", "untrained")]


def report_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "report.json").read_text())  # type: ignore[no-any-return]


def auc_of(run: Path, arm: str) -> float:
    return next(row["judged"]["roc_auc"]["value"] for row in report_of(run)["test"] if row["name"] == arm)


def edit_report(run: Path, **values: Any) -> None:
    (run / "report.json").write_text(json.dumps(report_of(run) | values))


def test_each_arm_stands_there_once_with_the_figures_of_its_report(runs: list[Path]) -> None:
    comparison = compare_runs(runs)
    assert list(comparison.sources) == [""]
    arms = comparison.sources[""]
    assert [arm.name for arm in arms] == [
        "random",
        "BM25",
        "pretrained",
        "adapted (lora)",
        "whole (full)",
        "untrained (none)",
    ]
    expected = [auc_of(runs[0], arm) for arm in ("random", "BM25", "pretrained", "lora")]
    expected += [auc_of(runs[1], "full"), auc_of(runs[2], "pretrained")]
    assert [arm.auc for arm in arms] == expected
    assert arms[3].judged == report_of(runs[0])["test"][-1]["judged"]


def test_costs_are_those_of_the_reports(runs: list[Path]) -> None:
    costs = compare_runs(runs).costs
    for cost, run in zip(costs[:2], runs[:2], strict=True):
        report = report_of(run)
        epochs = report["trained"]["epochs"]
        assert cost.run == run.name
        assert cost.epoch_seconds == pytest.approx(report["train_seconds"] / len(epochs))
        assert cost.pairs_per_second == pytest.approx(sum(e["pairs"] for e in epochs) / report["train_seconds"])
        assert (cost.trained_weights, cost.saved_bytes) == (report["trained_weights"], report["saved_bytes"])
        assert (cost.peak_memory_bytes, cost.largest_batch) == (report["peak_memory_bytes"], None)
    assert (costs[2].epoch_seconds, costs[2].pairs_per_second) == (None, None)
    best = max(cost.auc for cost in costs)
    assert [cost.auc_below_best_percent for cost in costs] == pytest.approx([100 * (1 - c.auc / best) for c in costs])
    assert min(cost.auc_below_best_percent for cost in costs) == 0.0


def test_relative_loss_of_lora_against_full(runs: list[Path]) -> None:
    comparison = compare_runs(runs)
    assert len(comparison.against_full) == 1
    against = comparison.against_full[0]
    lora, full = auc_of(runs[0], "lora"), auc_of(runs[1], "full")
    assert (against.run, against.full) == ("adapted", "whole")
    assert against.auc_loss_percent == {"": pytest.approx((full - lora) / full * 100)}
    assert comparison.costs[0].epoch_seconds is not None
    assert comparison.costs[1].epoch_seconds is not None
    assert against.epoch_speedup == pytest.approx(comparison.costs[1].epoch_seconds / comparison.costs[0].epoch_seconds)
    assert against.batch_ratio is None
    assert compare_runs([runs[0], runs[2]]).against_full == ()


def test_lora_is_set_against_the_best_full_run(runs: list[Path], tmp_path: Path) -> None:
    worse = Path(shutil.copytree(runs[1], tmp_path / "worse"))
    rows = report_of(worse)["test"]
    rows[-1]["judged"]["roc_auc"]["value"] = 0.25
    edit_report(worse, test=rows)
    assert compare_runs([worse, *runs]).against_full[0].full == "whole"


def test_other_text_contracts_and_base_models_have_pretrained_rows_of_their_own(
    runs: list[Path], tiny_recipe: TrainRecipe, tmp_path: Path
) -> None:
    text = TextContract(query_template="query: {text}", query_max_tokens=16, product_max_tokens=32)
    train(dataclasses.replace(tiny_recipe, method="none", text=text), tmp_path / "prefixed")
    arms = compare_runs([*runs[:2], tmp_path / "prefixed"]).sources[""]
    base = tiny_recipe.base_model
    assert [arm.name for arm in arms[2:4]] == [
        f"pretrained {base} (adapted, whole)",
        f"pretrained {base} (prefixed)",
    ]
    assert arms[3].auc == auc_of(tmp_path / "prefixed", "pretrained")
    other = Path(shutil.copytree(tmp_path / "prefixed", tmp_path / "other"))
    edit_report(other, base_model="pypi:other")
    assert [arm.name for arm in compare_runs([runs[0], other]).sources[""][2:4]] == [
        f"pretrained {base}",
        "pretrained pypi:other",
    ]


def test_two_sources_and_a_catalogue_that_only_one_run_ranks(
    tiny_recipe: TrainRecipe,
    tiny_data: Path,
    tmp_path: Path,
    run_warm: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    pairs, catalogue = str(tiny_data / "pairs.csv"), tiny_data / "products.csv"
    for name, ranked in (("judged", False), ("ranked", True)):
        sources = {
            "one": SourceRecipe(pairs=pairs, catalogue=catalogue, rank_catalogue=ranked),
            "two": SourceRecipe(pairs=pairs),
        }
        data = DataRecipe(sources=sources, validation_share=0.2, test_share=0.3)
        train(dataclasses.replace(tiny_recipe, method="none", data=data), tmp_path / name)
    comparison = compare_runs([tmp_path / "judged", tmp_path / "ranked"])
    assert list(comparison.sources) == ["one", "two"]
    assert [arm.catalogue is not None for arm in comparison.sources["one"]] == [True, True, True, False, True]
    assert not any(arm.catalogue for arm in comparison.sources["two"])
    assert comparison.costs[0].auc == pytest.approx(np.mean([arms[3].auc for arms in comparison.sources.values()]))
    done = run_warm("compare", tmp_path / "judged", tmp_path / "ranked")
    one, two = done.stdout.split("held-out queries of two")
    assert "held-out queries of one" in one
    cells = [line.split("│")[6].strip() for line in one.splitlines() if line.count("│") > 8]  # catalogue NDCG@10
    assert [bool(cell) for cell in cells] == [True, True, True, False, True]
    assert "catalogue" not in two.split("costs")[0]


def change_pairs(run: Path, **columns: Any) -> None:
    dataclasses.replace(read_pairs(run / "test.parquet"), **columns).save(run / "test.parquet")


def changed(pairs: Pairs, column: str) -> list[Any]:
    values = list(getattr(pairs, column))
    values[4] = 1 - values[4] if column in ("labels", "grades") else f"other {values[4]}"
    return values


@pytest.mark.parametrize("column", ["queries", "titles", "labels", "grades"])
def test_other_test_splits_are_refused(runs: list[Path], tmp_path: Path, column: str) -> None:
    other = Path(shutil.copytree(runs[1], tmp_path / "other"))
    pairs = read_pairs(other / "test.parquet")
    values: Any = changed(pairs, column)
    if column in ("labels", "grades"):
        values = np.array(values, dtype=getattr(pairs, column).dtype)
    change_pairs(other, **{column: values}, product_ids=[str(row) for row in range(len(pairs))])
    with pytest.raises(DataError, match=rf"compared on one test split, but .* have other {column}, first in row 5: "):
        compare_runs([runs[0], other])


def test_test_splits_of_other_sizes_are_refused(runs: list[Path], tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_recipe.data, test_share=0.25)
    train(dataclasses.replace(tiny_recipe, method="none", data=data), tmp_path / "smaller")
    with pytest.raises(DataError, match="have 84 and 72 test pairs: compare runs of the same data, shares and"):
        compare_runs([runs[0], tmp_path / "smaller"])


@pytest.mark.parametrize("arm", ["random", "BM25", "pretrained"])
def test_runs_that_disagree_about_a_shared_arm_are_refused(runs: list[Path], tmp_path: Path, arm: str) -> None:
    other = Path(shutil.copytree(runs[1], tmp_path / "other"))
    rows = report_of(other)["test"]
    row = next(row for row in rows if row["name"] == arm)
    row["judged"]["mrr_at_10"] += 5e-7
    edit_report(other, test=rows)
    compare_runs([runs[0], other])
    row["judged"]["mrr_at_10"] += 1e-6
    edit_report(other, test=rows)
    with pytest.raises(DataError, match=f"{arm} must score the same in all runs, got MRR@10 .* in adapted and .* in o"):
        compare_runs([runs[0], other])


def test_no_runs_equal_names_and_other_folders_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compare needs at least one run folder, got none"):
        compare_runs([])
    again = Path(shutil.copytree(runs[0], tmp_path / "adapted"))
    with pytest.raises(ConfigError, match=r"every run needs a name of its own, got 'adapted' twice .*: rename a"):
        compare_runs([runs[0], again])
    with pytest.raises(ModelError, match=r"is no run folder: it has no report\.json; make one with trident train"):
        compare_runs([runs[0], tmp_path])


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_plot_is_written_and_the_same_every_time(
    runs: list[Path], tmp_path: Path, suffix: str, start: bytes
) -> None:
    comparison = compare_runs(runs)
    path = tmp_path / "docs" / f"plot.{suffix}"
    save_plot(comparison, path)
    first = path.read_bytes()
    assert first.startswith(start)
    save_plot(comparison, path)
    assert path.read_bytes() == first
    if suffix == "svg":
        text = first.decode()
        assert all(f">{arm.name}<" in text and f">{arm.auc:.4f}<" in text for arm in comparison.sources[""])


def test_other_plot_files_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--plot writes \.svg or \.png, got .*plot\.pdf"):
        save_plot(compare_runs(runs[:1]), tmp_path / "plot.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(TridentError, match=r"plot\.svg cannot be written: "):
        save_plot(compare_runs(runs[:1]), tmp_path / "file" / "plot.svg")


def test_the_command_prints_tables_and_draws(
    runs: list[Path], tmp_path: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_warm("compare", *runs, "--plot", tmp_path / "plot.svg")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.replace("│", " ").split()) for line in done.stdout.splitlines()]
    lora, full = auc_of(runs[0], "lora"), auc_of(runs[1], "full")
    assert any(line.startswith(f"adapted (lora) {lora:.4f}") for line in lines)
    assert any(line.startswith(f"adapted whole {(full - lora) / full * 100:+.2f}%") for line in lines)
    assert any(line.startswith("untrained (none) - - ") for line in lines)
    assert done.stderr == f"wrote {tmp_path / 'plot.svg'}\n"
    assert (tmp_path / "plot.svg").is_file()


def test_the_command_prints_the_same_numbers_as_json(
    runs: list[Path], run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert json.loads(run_warm("compare", *runs, "--json").stdout) == to_table(compare_runs(runs))


def test_the_largest_batch_is_measured_under_the_limit(runs: list[Path]) -> None:
    measured: list[str] = []
    with pytest.raises(ConfigError, match=r"not even a batch of 1 fits into 0\.00 GiB: "):
        compare_runs(runs[:1], memory_limit_bytes=2**20, progress=measured.append)
    assert measured == ["adapted"]
    assert compare_runs(runs[2:], memory_limit_bytes=2**20).costs[0].largest_batch is None  # it trains nothing

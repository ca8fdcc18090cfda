"""The report page of real tiny runs: its numbers, its rankings, its titles, and that it needs nothing from outside."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from trident.data.pairs import Pairs, read_pairs
from trident.errors import ModelError, TridentError
from trident_train.recipe import DataRecipe, OptimizerRecipe, SelectionRecipe, TrainRecipe
from trident_train.report.figures import save_figures
from trident_train.report.page import write_report_page
from trident_train.report.results import read_results
from trident_train.run import train

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """Tables as lists of rows of text, attributes of every tag, and whether the tags are nested rightly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}  # by caption, the first of each
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "table":
            self.tables.setdefault(self._caption, self._rows)

    def handle_data(self, data: str) -> None:
        if "script" in self._open or "style" in self._open:
            return
        self.words.append(data)
        if "caption" in self._open:
            self._caption += data
        elif self._open and ("td" in self._open or "th" in self._open):
            self._rows[-1][-1] += data

    def table(self, caption: str) -> list[list[str]]:
        return next(rows for found, rows in self.tables.items() if caption in found)

    def labels(self) -> list[str]:
        return [attributes["aria-label"] or "" for tag, attributes in self.attributes if tag == "svg"]


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tiny run that tests may write into."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("report") / "tiny"))


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(write_report_page(run).read_text("utf-8"))


def test_the_numbers_on_the_page_are_those_of_the_report(run: Path, page: Page) -> None:
    report = json.loads((run / "report.json").read_text())
    quality = page.table("ranking over")
    assert quality[0] == ["Arm", "ROC-AUC", "95% interval", "NDCG@10", "MRR@10"]
    assert len(quality) == 1 + len(report["test"])
    for cells, row in zip(quality[1:], report["test"], strict=True):
        judged, auc = row["judged"], row["judged"]["roc_auc"]
        interval = f"{auc['low']:.4f} to {auc['high']:.4f}"
        figures = [f"{auc['value']:.4f}", interval, f"{judged['ndcg_at_10']:.4f}", f"{judged['mrr_at_10']:.4f}"]
        assert cells == [row["name"], *figures]
    epochs = page.table("Epochs")
    assert epochs[1][2] == f"{report['pretrained_validation']['value']:.4f}"
    for cells, epoch in zip(epochs[2:], report["trained"]["epochs"], strict=True):
        best = " (best)" if epoch["epoch"] == report["trained"]["best_epoch"] else ""
        assert cells[:3] == [f"{epoch['epoch']}{best}", f"{epoch['mean_loss']:.4f}", f"{epoch['score']:.4f}"]
    costs = {row[0]: row[1] for row in page.table("Costs")}
    share = report["trained_weights"] / report["total_weights"]
    assert costs["Weights trained"] == f"{report['trained_weights']:,} of {report['total_weights']:,} ({share:.2%})"
    assert costs["Interrupted"] == "no"
    assert dict(map(tuple, page.table("Environment"))) == report["environment"]
    recipe = json.loads((run / "recipe.json").read_text())
    shown = {row[0]: row[1] for row in page.table("As resolved")}
    assert shown["optimizer.learning_rate"] == str(recipe["optimizer"]["learning_rate"])
    assert shown["lora.targets"] == json.dumps(recipe["lora"]["targets"])
    splits = {row[0]: row[1] for row in page.table("disjoint by query")[1:]}
    assert splits == {name: f"{split['pairs']:,}" for name, split in report["audits"][""]["splits"].items()}


def test_figures_say_their_numbers_to_readers_who_do_not_see_them(run: Path, page: Page) -> None:
    rows = {row["name"]: row for row in json.loads((run / "report.json").read_text())["test"]}
    labels = page.labels()
    assert len(labels) == 5
    areas = ", ".join(f"{name} {row['judged']['roc_auc']['value']:.3f}" for name, row in rows.items())
    assert f"ROC curves on the test split; areas under them: {areas}." in labels
    legend = [word for word in page.words if re.fullmatch(r"lora \d\.\d+", word)]
    assert legend == [f"lora {rows['lora']['judged']['roc_auc']['value']:.3f}"]
    assert all(attributes.get("role") == "img" for tag, attributes in page.attributes if tag == "svg")


def test_the_page_needs_nothing_from_outside(run: Path, page: Page) -> None:
    text = (run / "report.html").read_text("utf-8")
    assert not re.search(r"https?://|@import|<link|<img|<iframe", text)
    references = [
        value for _, attributes in page.attributes for name, value in attributes.items() if name in ("src", "href")
    ]
    assert references
    assert all(value is not None and value.startswith("#") for value in references)
    ids = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references if value} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))  # dark mode


def test_the_page_is_the_same_every_time(run: Path) -> None:
    assert write_report_page(run).read_bytes() == write_report_page(run).read_bytes()
    assert "<h1>demo</h1>" in write_report_page(run, name="demo").read_text("utf-8")


def rewrite(folder: Path, titles: list[str], queries: list[str]) -> None:
    pairs = read_pairs(folder / "test.parquet")
    dataclasses.replace(pairs, titles=titles, queries=queries).save(folder / "test.parquet")


def test_titles_and_queries_are_escaped_and_cut(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "<i>run</i>"))
    pairs = read_pairs(run / "test.parquet")
    hostile = '<script>alert("1")</script> & {{ 7 * 7 }} '
    by_id = {each: hostile + each + " long" * 200 for each in dict.fromkeys(pairs.product_ids)}
    rewrite(run, [by_id[each] for each in pairs.product_ids], [f"<b>{query}</b>" for query in pairs.queries])
    text = write_report_page(run).read_text("utf-8")
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "long" * 3 not in text
    page = Page(text)
    titles = [row[1] for row in page.table("Before")[1:]]
    assert all(hostile.strip() in title for title in titles)
    assert all(title.endswith("…") and len(title) <= 242 for title in titles)
    assert any(word.startswith("<b>") and word.endswith("</b>") for word in page.words)


def test_a_run_without_training(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny_recipe, method="none"), tmp_path / "none")
    text = write_report_page(tmp_path / "none").read_text("utf-8")
    page = Page(text)
    assert "Nothing was trained" in text
    assert "<h2>Training</h2>" not in text
    assert [row[0] for row in page.table("ranking over")[1:]] == ["random", "BM25", "pretrained"]
    assert [label.split()[0] for label in page.labels()] == ["ROC", "Histogram"]


def test_two_sources_one_epoch_and_a_catalogue(
    tiny_recipe: TrainRecipe, two_sources: DataRecipe, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        method="full",
        data=two_sources,
        optimizer=OptimizerRecipe(epochs=1, batch_size=16, learning_rate=1e-6),
        selection=SelectionRecipe(metrics=("roc_auc", "ndcg_at_10")),
    )
    report = train(recipe, tmp_path / "two")
    text = write_report_page(tmp_path / "two").read_text("utf-8")
    page = Page(text)
    assert len(page.labels()) == 2 + 2 * 3
    ranked = page.table("ranked: 84 pairs; ranking over 14 queries with a relevant product; catalogue of 144 products")
    judged = page.table("judged: 84 pairs; ranking over 14 queries with a relevant product")
    assert (len(ranked[0]), len(judged[0])) == (11, 5)
    row = next(row for row in report.test if (row.data, row.name) == ("ranked", "full"))
    assert row.catalogue is not None
    assert ranked[-1][5] == f"{row.catalogue.ndcg_at_10:.4f}"
    assert ranked[-1][10] == f"{row.catalogue.recall_at_100:.4f}"
    results = read_results(tmp_path / "two")
    assert [(source.name, len(source.pairs)) for source in results.sources] == [("ranked", 84), ("judged", 84)]
    helped = "Training helped." if report.improved else "Training did not help: do not serve this run."
    assert helped in text


def test_one_class_gets_no_roc_curve(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    pairs = read_pairs(run / "test.parquet")
    dataclasses.replace(pairs, labels=np.ones(len(pairs), dtype=np.int8)).save(run / "test.parquet")
    text = write_report_page(run).read_text("utf-8")
    assert "A ROC curve needs relevant and irrelevant pairs" in text
    assert not any(label.startswith("ROC") for label in Page(text).labels())


def test_a_big_run_stays_small(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "big"))
    generator = np.random.default_rng(0)
    count = 6000
    labels = np.arange(count, dtype=np.int8) % 2
    Pairs(
        queries=[f"query {row // 8}" for row in range(count)],
        titles=[f"title {row} " + "word " * 60 for row in range(count)],
        labels=labels,
        grades=labels.astype(np.float32),
        product_ids=[str(row) for row in range(count)],
    ).save(run / "test.parquet")
    arms = {name: generator.random(count, dtype=np.float32) for name in ("random", "BM25", "pretrained", "lora")}
    pyarrow.parquet.write_table(pa.table({"data": [""] * count, **arms}), run / "test_scores.parquet")
    steps = [{"kind": "step", "epoch": 1, "step": n, "loss": 1.0 / n} for n in range(1, 10001)]
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(step) for step in steps))
    assert write_report_page(run).stat().st_size < 300_000


def test_figures_are_written_as_svg_files(tiny_run: Path, tmp_path: Path) -> None:
    paths = save_figures(tiny_run, tmp_path / "docs" / "figures")
    assert [path.name for path in paths] == [
        "loss.svg",
        "validation.svg",
        "roc.svg",
        "scores-before.svg",
        "scores-after.svg",
    ]
    first = [path.read_bytes() for path in paths]
    assert all(ElementTree.fromstring(text).tag.endswith("svg") for text in first)
    assert [path.read_bytes() for path in save_figures(tiny_run, tmp_path / "docs" / "figures")] == first
    (tmp_path / "file").write_text("")
    with pytest.raises(TridentError, match="file cannot be written: "):
        save_figures(tiny_run, tmp_path / "file")


def test_damaged_and_foreign_folders_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no run folder: it has no report\.json; make one with trident train"):
        write_report_page(tmp_path)
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "metrics.jsonl").write_text("{")
    with pytest.raises(ModelError, match=r"metrics\.jsonl is damaged \(.*\): train again"):
        write_report_page(run)
    scores = pyarrow.parquet.read_table(run / "test_scores.parquet")
    pyarrow.parquet.write_table(scores.drop_columns(["lora"]), run / "test_scores.parquet")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(ModelError, match="has no scores of 'lora': train again"):
        write_report_page(run)
    pyarrow.parquet.write_table(scores.slice(1), run / "test_scores.parquet")
    with pytest.raises(ModelError, match=r"one row for each of the 84 pairs of test\.parquet, got 83: train again"):
        write_report_page(run)
    (run / "test_scores.parquet").unlink()
    with pytest.raises(ModelError, match=r"is no whole run folder: it has no test_scores\.parquet"):
        write_report_page(run)
    (run / "report.json").write_text('{"method": "lora"}')
    with pytest.raises(ModelError, match=r"has no 'base_model': another version of Trident wrote it; train again"):
        write_report_page(run)


def test_the_command_makes_the_page_anew_and_writes_figures(
    run: Path, tmp_path: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (run / "report.html").unlink(missing_ok=True)
    done = run_warm("report", run, "--figures", tmp_path / "figures")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"wrote {run / 'report.html'}\nwrote 5 figures into {tmp_path / 'figures'}\n"
    assert (run / "report.html").is_file()
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 5

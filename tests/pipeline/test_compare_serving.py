"""``trident compare-serving`` over two tiny generations: figures, the page, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.comparison.comparison_page import render_comparison
from trident.comparison.serving_comparison import SHOWN, ServingComparison, compare_generations, products_missing
from trident.data.pairs import Pairs, read_pairs
from trident.errors import DataError
from trident.generation.generation import Generation, list_generations
from trident.quality.rank_overlap import overlap, rank_biased_overlap
from trident.search.searcher import Searcher

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sides(two_generations: Path) -> tuple[Generation, Generation]:
    old, new = list_generations(two_generations)
    return old, new


@pytest.fixture(scope="module")
def pairs(sides: tuple[Generation, Generation]) -> Pairs:
    return read_pairs(sides[0].folder / "test.parquet")


@pytest.fixture(scope="module")
def compared(sides: tuple[Generation, Generation], pairs: Pairs) -> ServingComparison:
    return compare_generations(*sides, pairs.queries, pairs=pairs, threads=1)


def test_products_that_a_generation_lacks_are_told_or_refused(
    sides: tuple[Generation, Generation], pairs: Pairs
) -> None:
    path = Path("p.csv")
    assert products_missing(pairs, sides[0], path) == ""
    gone = dataclasses.replace(
        pairs,
        product_ids=["gone" if row == pairs.labels.argmax() else each for row, each in enumerate(pairs.product_ids)],
    )
    assert "1 of the" in products_missing(gone, sides[0], path)
    spelt = dataclasses.replace(pairs, product_ids=[f"{each} " for each in pairs.product_ids])
    with pytest.raises(
        DataError, match=r"are there when spelt otherwise .*: mend the ids, or compare by --queries alone"
    ):
        products_missing(spelt, sides[0], path)


class Page(HTMLParser):
    """Collects the text of a page and what it would load."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_a_generation_equals_itself(sides: tuple[Generation, Generation], pairs: Pairs) -> None:
    found = compare_generations(sides[0], sides[0], pairs.queries, threads=1)
    assert (found.overlap_at_10, found.rbo, found.changed) == (1.0, pytest.approx(1.0), ())
    assert found.same == found.queries == len(set(pairs.queries))
    assert (found.best_score.value, found.mean_score.low, found.mean_score.high) == (0, 0, 0)
    assert found.ndcg_at_10 is found.old.ndcg_at_10 is None
    assert "None: every query shows the same products" in Page(render_comparison(found, source="a test")).text


def test_figures_are_those_of_the_answers(
    compared: ServingComparison, sides: tuple[Generation, Generation], pairs: Pairs
) -> None:
    queries = list(dict.fromkeys(pairs.queries))
    old, new = (Searcher.load(side).answers(queries) for side in sides)
    overlaps = [overlap(one.product_ids, other.product_ids) for one, other in zip(old, new, strict=True)]
    assert compared.overlap_at_10 == pytest.approx(np.mean(overlaps))
    assert compared.best_score.value == pytest.approx(
        np.mean([other.scores[0] - one.scores[0] for one, other in zip(old, new, strict=True)]), abs=1e-5
    )
    assert compared.new.mean_score == pytest.approx(np.mean([np.mean(each.scores) for each in new]), abs=1e-5)
    assert compared.old.ndcg_at_10 == pytest.approx(sides[0].manifest.quality["catalogue"]["ndcg_at_10"], abs=1e-6)
    assert compared.ndcg_at_10 is not None
    assert compared.ndcg_at_10.high < 0  # the new one is worse
    assert compared.same == sum(one.product_ids == other.product_ids for one, other in zip(old, new, strict=True))
    assert min(compared.old.latency.median_ms, compared.new.latency.p95_ms) > 0


def test_the_most_changed_queries_come_first_with_both_lists(
    compared: ServingComparison, sides: tuple[Generation, Generation], pairs: Pairs
) -> None:
    assert 5 < len(compared.changed) <= SHOWN
    assert [each.rbo for each in compared.changed] == sorted(each.rbo for each in compared.changed)
    first = compared.changed[0]
    for side, shown in zip(sides, (first.old, first.new), strict=True):
        (answer,) = Searcher.load(side).answers([first.query])
        assert [product.product_id for product in shown] == answer.product_ids
    ids = [product.product_id for product in first.old]
    assert first.rbo == pytest.approx(rank_biased_overlap(ids, [product.product_id for product in first.new]))
    for product in first.new:
        assert product.other_place == (ids.index(product.product_id) + 1 if product.product_id in ids else None)
    judged = {
        product: bool(label)
        for query, product, label in zip(pairs.queries, pairs.product_ids, pairs.labels, strict=True)
        if query == first.query
    }
    assert [product.relevant for product in first.old] == [judged.get(product) for product in ids]


def test_no_query_and_nothing_relevant_are_refused(sides: tuple[Generation, Generation], pairs: Pairs) -> None:
    with pytest.raises(DataError, match="a comparison needs at least one query, got none"):
        compare_generations(*sides, [], threads=1)
    irrelevant = pairs.take(np.flatnonzero(pairs.labels == 0).tolist())
    with pytest.raises(DataError, match="ranking needs a query with a relevant product"):
        compare_generations(*sides, irrelevant.queries, pairs=irrelevant, threads=1)


def test_the_command_prints_tables_and_writes_one_page(
    run_warm: Run, sides: tuple[Generation, Generation], two_generations: Path, tmp_path: Path
) -> None:
    queries, page = tmp_path / "queries.txt", tmp_path / "page.html"
    queries.write_text("crimson kettle\nnavy sofa\n<b>[/red] lamp\nnavy  SOFA\n")
    old, new = (side.id for side in sides)
    command = ("compare-serving", old, new, "--generations", two_generations, "--queries", queries, "--threads", "1")
    done = run_warm(*command, "--html", page)
    assert done.returncode == 0, done.stderr
    assert f"old {old}" in done.stdout
    assert "3 queries; " in done.stdout
    assert "[/red] lamp" in done.stdout
    source = page.read_text(encoding="utf-8")
    parsed = Page(source)
    assert parsed.open == []
    assert parsed.loaded == []  # one file
    assert "url(" not in source
    assert "<b>[/red] lamp" not in source
    for words in (old, new, "<b>[/red] lamp", "Before", "After", "3 different queries from the file"):
        assert words in parsed.text
    document: dict[str, Any] = json.loads(run_warm(*command, "--json").stdout)
    assert (document["old"]["id"], document["new"]["serial"], document["queries"]) == (old, 2, 3)
    for product in (product for query in document["changed"] for product in query["old"] + query["new"]):
        assert product["title"] in parsed.text
    by_pairs = run_warm(
        *("compare-serving", old, new, "--generations", two_generations, "--threads", "1", "--json"),
        *("--pairs", sides[0].folder / "test.parquet", "--html", page),
    )
    assert json.loads(by_pairs.stdout)["ndcg_at_10"]["high"] < 0
    assert "NDCG@10 of the judged products" in Page(page.read_text(encoding="utf-8")).text


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "compare-serving needs one of --queries, --pairs and --log"),
        (("--queries", "a.csv", "--gain", "E=1"), 2, "--positive-from and --gain say what the labels of --pairs mean"),
        (("--log", "3", "--encoding", "cp1252"), 2, "--column and --encoding say how --queries or --pairs is read"),
        (("--queries", "a.csv", "--column", "grade=x"), 2, "--column: unknown name 'grade'"),
        (("--queries", "a.txt", "--log", "3"), 2, "compare-serving needs one of --queries, --pairs and --log"),
        (("--log", "3", "--html", "nowhere/page.html"), 2, "--html: the folder nowhere does not exist"),
        (("--log", "3"), 1, "has no logged query"),
    ],
)
def test_what_the_command_refuses(
    run_warm: Run, sides: tuple[Generation, Generation], two_generations: Path, arguments: tuple[str, ...],
    status: int, message: str,
) -> None:  # fmt: skip
    old, new = (side.id for side in sides)
    done = run_warm("compare-serving", old, new, "--generations", two_generations, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr

"""Measures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trident.data.pairs import Pairs
from trident.errors import DataError
from trident.quality.metrics import (
    catalogue_ndcg_by_query,
    catalogue_quality,
    judged_quality,
    ndcg_by_query,
    roc_auc,
)
from trident.quality.ranked import LARGEST_GAIN, best_first, whole_gains


def make(rows: list[tuple[str, str, int, float]]) -> Pairs:
    queries, products, labels, grades = (list(column) for column in zip(*rows, strict=True))
    return Pairs(
        queries,
        products,
        np.array(labels, dtype=np.int8),
        np.array(grades, dtype=np.float32),
        products,  # type: ignore[arg-type]
    )


ROWS = [("a", "p1", 1, 3.0), ("a", "p2", 0, 1.0), ("a", "p3", 0, 0.0), ("b", "p1", 1, 1.0), ("b", "p2", 0, 0.0)]


def test_judged_quality_by_hand() -> None:
    # query a ranks p2, p1, p3; query b ranks p1, p2
    quality = judged_quality(make(ROWS), np.array([0.5, 0.9, 0.1, 0.8, 0.2], dtype=np.float32))
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    found = 1 / math.log2(2) + 3 / math.log2(3)
    assert quality.ndcg_at_10 == pytest.approx((found / ideal + 1) / 2, abs=1e-4)
    assert quality.mrr_at_10 == pytest.approx((0.5 + 1) / 2)
    assert quality.roc_auc.value == pytest.approx(4 / 6)  # 0.5 and 0.8 against 0.9, 0.1, 0.2
    assert quality.roc_auc.low <= quality.roc_auc.value <= quality.roc_auc.high
    assert (quality.pairs, quality.queries) == (5, 2)


def test_catalogue_quality_by_hand() -> None:
    found = {"a": [("x", 0.9), ("p1", 0.8)], "b": [("x", 0.9)]}
    quality = catalogue_quality(make(ROWS), found, products=100)
    assert quality.mrr_at_10 == pytest.approx(0.25)
    assert quality.recall_at_10 == pytest.approx(0.5)
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    assert quality.ndcg_at_10 == pytest.approx(3 / math.log2(3) / ideal / 2, abs=1e-4)
    by_query = catalogue_ndcg_by_query(make(ROWS), {"A ": found["a"], "b": found["b"]})
    assert by_query == {"a": pytest.approx(2 * quality.ndcg_at_10), "b": 0.0}


def test_queries_without_a_relevant_product_are_left_out_of_ranking() -> None:
    pairs = make([*ROWS, ("c", "p9", 0, 0.0)])
    assert judged_quality(pairs, np.arange(6, dtype=np.float32)).queries == 2


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="ROC-AUC needs relevant and irrelevant pairs, got 2 relevant of 2"):
        roc_auc(np.array([1, 1], dtype=np.int8), np.array([0.1, 0.2], dtype=np.float32))


def test_no_relevant_product_is_refused() -> None:
    with pytest.raises(DataError, match="ranking needs a query with a relevant product"):
        catalogue_quality(make([("a", "p", 0, 0.0)]), {}, products=1)


def test_interval_narrows_with_more_queries() -> None:
    generator = np.random.default_rng(0)

    def width(queries: int) -> float:
        labels = np.tile(np.array([0, 1], dtype=np.int8), queries)
        names = [f"q{number}" for number in range(queries) for _ in range(2)]
        products = [str(number) for number in range(2 * queries)]
        scores = (labels + generator.normal(size=len(labels))).astype(np.float32)
        interval = judged_quality(Pairs(names, products, labels, labels.astype(np.float32), products), scores).roc_auc
        assert interval.low < interval.value < interval.high
        return interval.high - interval.low

    assert width(400) < width(20)


# --- gains, equal scores, and scores that are none -------------------------------------------------------------------


def dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:10]))


def graded(gains: list[float], query: str = "a") -> list[tuple[str, str, int, float]]:
    return [(query, f"p{number}", int(gain >= 1), gain) for number, gain in enumerate(gains)]


@pytest.mark.parametrize(
    "gains",
    [
        [0.01, 1.0, 0.0, 0.1],  # ESCI's
        [1.0, 100.0, 0.0, 10.0],
        [1 / 3, 2.0, 0.0, 2 / 3],
        [0.123456, 1.7, 0.0, 0.05],
        [3e6, 7e8, 0.0, 1e8],
        [0.5, 1.0, 1.5, 3.25],
    ],
)
def test_ndcg_uses_the_gains_that_were_given(gains: list[float]) -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32)
    expected = dcg(gains) / dcg(sorted(gains, reverse=True))
    assert ndcg_by_query(make(graded(gains)), scores) == {"a": pytest.approx(expected, abs=2e-5)}


def test_a_query_s_figure_does_not_depend_on_other_queries() -> None:
    rows, scores = graded([0.01, 1.0, 0.0, 0.1]), [0.9, 0.8, 0.7, 0.6]
    alone = ndcg_by_query(make(rows), np.array(scores, dtype=np.float32))["a"]
    for other in ([0.5, 1.0], [3.0, 1.0], [0.001, 900.0], [2e9, 1.0]):
        pairs = make([*graded(other, "b"), *rows])
        assert ndcg_by_query(pairs, np.array([0.1, 0.2, *scores], dtype=np.float32))["a"] == alone


def test_gains_are_whole_numbers_in_proportion() -> None:
    assert whole_gains([float(np.float32(gain)) for gain in (1, 0.1, 0.01, 0)]) == [100, 10, 1, 0]
    assert whole_gains([3.0, 2.0, 0.0]) == [3, 2, 0]
    assert whole_gains([4e9, 2e9]) == [2, 1]
    assert whole_gains([0.0, 0.0]) == [0, 0]
    assert whole_gains([1e9, 3.0, 0.0]) == [LARGEST_GAIN, 0, 0]


def test_equal_scores_have_one_order_in_every_measure() -> None:
    rows = [("a", f"p{number}", int(number == 3), float(number == 3)) for number in range(8)] + [("b", "p9", 0, 0.0)]
    for names in ("{}", "z{}", "{}-9", "0{}"):
        pairs = make([(query, names.format(product), label, grade) for query, product, label, grade in rows])
        quality = judged_quality(pairs, np.zeros(len(rows), dtype=np.float32))
        place = best_first(pairs, np.zeros(len(rows), dtype=np.float32))
        place = [row for row in place if pairs.queries[row] == "a"].index(3)
        assert quality.mrr_at_10 == pytest.approx(1 / (place + 1))
        assert quality.ndcg_at_10 == pytest.approx(1 / math.log2(place + 2))
        found = {"a": [(product, 0.5) for product in pairs.product_ids[:8]], "b": []}
        whole = catalogue_quality(pairs, found, products=8)
        assert whole.mrr_at_10 == pytest.approx(1 / 4)  # the order in which they were found, whatever their names
        assert whole.ndcg_at_10 == pytest.approx(1 / math.log2(5))


def test_the_order_of_equal_scores_depends_on_titles_not_on_rows_or_ids() -> None:
    titles = [f"lamp {number}" for number in range(20)]
    labels = np.array([1] * 5 + [0] * 15, dtype=np.int8)  # the relevant ones first, as many files have them

    def judged(order: list[int], prefix: str) -> tuple[float, float]:
        pairs = Pairs(["lamp"] * 20, titles, labels, labels.astype(np.float32), [f"{prefix}{n}" for n in range(20)])
        quality = judged_quality(pairs.take(order), np.ones(20, dtype=np.float32))
        return quality.ndcg_at_10, quality.mrr_at_10

    rows = list(range(20))
    assert judged(rows, "a") == judged(rows[::-1], "a") == judged(rows, "z-") == judged(rows[::-1], "7")
    assert judged(rows, "a")[0] < 0.9  # a model that knows nothing is no good one


def test_scores_that_differ_in_64_bits_only_are_ordered_alike() -> None:
    pairs = make([("a", "p1", 0, 0.0), ("a", "p2", 1, 1.0)])
    found = {"a": [("p2", 0.5 + 1e-12), ("p1", 0.5)]}
    quality = catalogue_quality(pairs, found, products=2)
    assert (quality.ndcg_at_10, quality.mrr_at_10) == (1.0, 1.0)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    scores = np.array([0.5, score, 0.1, 0.8, 0.2], dtype=np.float32)
    words = r"scores must be finite numbers, got -?(nan|inf) for query 'a' and product 'p2': .* take another model"
    for measure in (judged_quality, ndcg_by_query):
        with pytest.raises(DataError, match=words):
            measure(make(ROWS), scores)
    with pytest.raises(DataError, match=r"scores must be finite numbers, got -?(nan|inf) for pair 2"):
        roc_auc(make(ROWS).labels, scores)
    with pytest.raises(DataError, match=words):
        catalogue_quality(make(ROWS), {"a": [("p1", 0.5), ("p2", score)]}, products=3)

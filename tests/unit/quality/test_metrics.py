"""Measures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trident.data.pairs import Pairs
from trident.errors import DataError
from trident.quality.metrics import catalogue_ndcg_by_query, catalogue_quality, judged_quality, roc_auc


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

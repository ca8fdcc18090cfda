"""Paired bootstrap: signs, certainty, and what does not change."""

from __future__ import annotations

import numpy as np
import pytest

from trident.data.pairs import Pairs
from trident.errors import DataError
from trident.quality.metrics import judged_quality, ndcg_by_query
from trident.quality.paired import mean_change, quality_change

QUERIES = 40


@pytest.fixture
def pairs() -> Pairs:
    rows = [
        (f"query {query}", f"product {product}", int(product < 2)) for query in range(QUERIES) for product in range(6)
    ]
    queries, products, labels = (list(column) for column in zip(*rows, strict=True))
    values = np.array(labels)
    return Pairs(queries, products, values.astype(np.int8), values.astype(np.float32), products)  # type: ignore[arg-type]


@pytest.fixture
def good(pairs: Pairs) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=len(pairs))
    return (pairs.labels + noise).astype(np.float32)


def test_the_same_scores_change_nothing(pairs: Pairs, good: np.ndarray) -> None:
    change = quality_change(pairs, good, good)
    for interval in (change.roc_auc, change.ndcg_at_10):
        assert (interval.low, interval.value, interval.high) == (0.0, 0.0, 0.0)


def test_values_are_the_differences_of_the_quality(pairs: Pairs, good: np.ndarray) -> None:
    other = np.random.default_rng(1).permutation(good)
    new, old = judged_quality(pairs, other), judged_quality(pairs, good)
    change = quality_change(pairs, other, good)
    assert change.roc_auc.value == pytest.approx(new.roc_auc.value - old.roc_auc.value)
    assert change.ndcg_at_10.value == pytest.approx(new.ndcg_at_10 - old.ndcg_at_10)
    assert change.ndcg_at_10.value == pytest.approx(
        np.mean(list(ndcg_by_query(pairs, other).values())) - np.mean(list(ndcg_by_query(pairs, good).values()))
    )


def test_a_ruin_is_worse_beyond_chance_and_its_mirror_better(pairs: Pairs, good: np.ndarray) -> None:
    change = quality_change(pairs, -good, good)
    assert change.roc_auc.low < change.roc_auc.value < change.roc_auc.high < 0
    assert change.ndcg_at_10.high < 0
    assert change.worst() == min(change.roc_auc.high, change.ndcg_at_10.high)
    back = quality_change(pairs, good, -good)
    assert back.roc_auc.low > 0
    assert back.worst() > 0


def test_noise_is_not_worse_beyond_chance(pairs: Pairs, good: np.ndarray) -> None:
    nudged = good + np.random.default_rng(2).normal(scale=0.05, size=len(good)).astype(np.float32)
    change = quality_change(pairs, nudged, good)
    assert change.roc_auc.low < 0 < change.roc_auc.high
    assert change.worst() >= 0


def test_the_mean_of_two_queries_by_hand() -> None:
    change = mean_change({"a": 1.0, "b": 0.5}, {"a": 0.5, "b": 0.5})
    assert change.value == 0.25
    assert (change.low, change.high) == (0.0, 0.5)


def test_one_class_is_refused(pairs: Pairs, good: np.ndarray) -> None:
    alone = Pairs(pairs.queries, pairs.titles, np.ones_like(pairs.labels), pairs.grades, pairs.product_ids)
    with pytest.raises(DataError, match="needs relevant and irrelevant pairs"):
        quality_change(alone, good, good)

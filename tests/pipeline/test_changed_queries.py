"""Queries that gained and lost most, against an independent computation of NDCG."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from trident.data.pairs import Pairs
from trident.quality.metrics import ndcg_by_query
from trident_train.judge.changed_queries import changed_queries
from trident_train.report.results import read_results


def independent_ndcg(pairs: Pairs, scores: np.ndarray, query: str) -> float:
    rows = [row for row, text in enumerate(pairs.queries) if text == query]
    rows.sort(key=lambda row: (-scores[row], pairs.product_ids[row]))
    gains = [float(pairs.grades[row]) for row in rows]
    ideal = sorted(gains, reverse=True)
    discounted = [sum(g / math.log2(i + 2) for i, g in enumerate(each[:10])) for each in (gains, ideal)]
    return discounted[0] / discounted[1]


def test_gained_and_lost_queries_equal_an_independent_computation(tiny_run: Path) -> None:
    source = read_results(tiny_run).sources[0]
    pairs, before, after = source.pairs, source.scores["pretrained"], source.scores["lora"]
    changes = changed_queries(pairs, before, after)
    gains = {
        query: independent_ndcg(pairs, after, query) - independent_ndcg(pairs, before, query)
        for query in set(pairs.queries)
    }
    expected = sorted(gains.values())
    assert [query.gain for query in changes.gained] == pytest.approx([g for g in expected[::-1] if g > 1e-9][:5])
    assert [query.gain for query in changes.lost] == pytest.approx([g for g in expected if g < -1e-9][:5])
    assert changes.queries == len(gains)
    assert (changes.better, changes.worse) == (sum(g > 1e-9 for g in expected), sum(g < -1e-9 for g in expected))
    swapped = changed_queries(pairs, after, before)
    assert [query.query for query in swapped.lost] == [query.query for query in changes.gained]
    for query in (*changes.gained, *changes.lost):
        assert query.gain == pytest.approx(gains[query.query])
        scores = [product.score for product in query.after]
        assert scores == sorted(scores, reverse=True)
        rows = [row for row, text in enumerate(pairs.queries) if text == query.query]
        assert query.products == len(rows)
        assert {(p.title, p.relevant) for p in query.before} == {
            (pairs.titles[row], bool(pairs.labels[row])) for row in rows
        }


@pytest.mark.parametrize("arm", ["random", "BM25", "pretrained", "lora"])
def test_the_mean_over_queries_is_the_table_s_figure(tiny_run: Path, arm: str) -> None:
    source = read_results(tiny_run).sources[0]
    values = ndcg_by_query(source.pairs, source.scores[arm])
    assert np.mean(list(values.values())) == pytest.approx(source.row(arm)["judged"]["ndcg_at_10"])


def test_fractional_grades_and_queries_without_a_relevant_product() -> None:
    pairs = Pairs(
        queries=["a", "a", "A", "b"],
        titles=["x", "y", "z", "x"],
        labels=np.array([0, 1, 1, 0], dtype=np.int8),
        grades=np.array([0.0, 0.5, 1.0, 0.0], dtype=np.float32),
        product_ids=["1", "2", "3", "1"],
    )
    values = ndcg_by_query(pairs, np.array([0.9, 0.5, 0.1, 0.3], dtype=np.float32))
    expected = (0.5 / math.log2(3) + 1 / math.log2(4)) / (1 + 0.5 / math.log2(3))
    assert values == {"a": pytest.approx(expected)}

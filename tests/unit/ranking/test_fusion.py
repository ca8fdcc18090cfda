"""The order of two legs against a plain Python formula; model numbers in front; ranks where nothing else is known."""

from __future__ import annotations

import numpy as np
import pytest

from trident.ranking.fusion import RRF_K, Candidates, fuse, fuse_ranks, scaled, united


def drawn(seed: int, dense: int = 40, lexical: int = 30) -> Candidates:
    draw = np.random.default_rng(seed)
    rows, dense_ranks, lexical_ranks = united(
        draw.permutation(100)[:dense].astype(np.int64), draw.permutation(100)[:lexical].astype(np.int64)
    )
    cosines = draw.uniform(-0.1, 0.9, len(rows)).astype(np.float32).round(2)  # with ties
    bm25 = (draw.uniform(0, 9, len(rows)) * (draw.random(len(rows)) < 0.7)).astype(np.float32).round(1)
    return Candidates(rows, cosines, bm25, dense_ranks, lexical_ranks)


def reference(found: Candidates, weight: float, codes: dict[int, int]) -> dict[int, float]:
    best = max(found.bm25.tolist())
    values = {}
    for row, cosine, bm25 in zip(found.rows.tolist(), found.cosines.tolist(), found.bm25.tolist(), strict=True):
        values[row] = (1 - weight) * max(cosine, 0.0) + weight * bm25 / best + codes.get(row, 0)
    return values


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_the_formula(seed: int, weight: float) -> None:
    found = drawn(seed)
    codes = {int(found.rows[3]): 2, int(found.rows[9]): 1, 10_000: 2}
    fused = fuse(found, weight, codes)
    rows, cosines = found.rows[fused.places], found.cosines[fused.places]
    expected = reference(found, weight, codes)
    np.testing.assert_allclose(fused.values, [expected[row] for row in rows.tolist()], atol=1e-5)
    assert sorted(rows.tolist()) == sorted(expected)
    assert rows[:2].tolist() == [int(found.rows[3]), int(found.rows[9])]
    assert fused.codes.tolist() == [2, 1, *[0] * (len(rows) - 2)]
    keys = list(zip(fused.values.tolist(), cosines.tolist(), (-rows).tolist(), strict=True))
    assert keys == sorted(keys, reverse=True)  # of equal ones the nearer, then the lower row


def test_ranks_decide_where_no_label_does() -> None:
    found = drawn(3)
    fused = fuse_ranks(found, {})
    expected = {}
    for row, dense, lexical in zip(found.rows.tolist(), found.dense_ranks, found.lexical_ranks, strict=True):
        expected[row] = sum(1 / (RRF_K + int(rank)) for rank in (dense, lexical) if rank)
    np.testing.assert_allclose(fused.values, sorted(expected.values(), reverse=True), rtol=1e-5)
    assert fuse_ranks(found, {int(found.rows[-1]): 1}).places[0] == len(found.rows) - 1


def test_rows_of_both_legs_stand_once_with_both_ranks() -> None:
    rows, dense, lexical = united(np.array([5, 3, 9]), np.array([9, 7, 5, 1]))
    assert rows.tolist() == [5, 3, 9, 7, 1]
    assert dense.tolist() == [1, 2, 3, 0, 0]
    assert lexical.tolist() == [3, 0, 1, 2, 4]
    nothing = np.zeros(0, dtype=np.int64)
    assert [part.tolist() for part in united(nothing, nothing)] == [[], [], []]
    assert united(nothing, np.array([4]))[2].tolist() == [1]


def test_what_cannot_be_scaled_counts_for_nothing() -> None:
    assert scaled(np.array([0.5, 0.5], dtype=np.float32), 0.5).tolist() == [0, 0]
    assert scaled(np.zeros(0, dtype=np.float32), 2.0).tolist() == []
    assert scaled(np.array([2.0, 4.0], dtype=np.float32), 0.0).tolist() == [0.5, 1.0]
    empty = Candidates(*(np.zeros(0, dtype=kind) for kind in (np.int64, np.float32, np.float32, np.int64, np.int64)))
    assert fuse(empty, 0.5, {}).places.tolist() == []

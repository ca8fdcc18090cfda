"""How far probabilities can be believed, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trident.data.pairs import Pairs
from trident.errors import DataError
from trident.quality.reliability import Candidates, brier_by_query, judged_candidates, reliability

PAIRS = Pairs(
    ["red sofa", "red sofa", "lamp"],
    ["a", "b", "c"],
    np.array([1, 0, 1], dtype=np.int8),
    np.array([1, 0, 1], dtype=np.float32),
    ["p1", "p2", "p3"],
)
FOUND = {"Red  sofa ": [("p2", 0.9), ("p9", 0.8), ("p1", 0.7)], "lamp": [("p3", 0.6), ("p1", 0.5)]}


def test_what_nobody_judged_is_left_out_or_irrelevant() -> None:
    left_out = judged_candidates(PAIRS, FOUND, every_positive_known=False)
    assert left_out.labels.tolist() == [0, 1, 1]
    assert left_out.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert left_out.queries.tolist() == [0, 0, 1]
    irrelevant = judged_candidates(PAIRS, FOUND, every_positive_known=True)
    assert irrelevant.labels.tolist() == [0, 0, 1, 1, 0]
    assert irrelevant.names == ("Red  sofa ", "lamp")


def test_figures_by_hand() -> None:
    labels = np.array([1, 1, 0, 0, 1, 0, 0, 1], dtype=np.int8)
    chances = np.array([0.95, 0.92, 0.91, 0.12, 0.12, 0.5, 0.51, 0.49])
    queries = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    candidates = Candidates(chances.astype(np.float32), labels, queries, ("a", "a b", "a b c d e"))
    found = reliability(candidates, chances)
    gaps = [abs(0.95 + 0.92 + 0.91 - 2), abs(0.24 - 1), abs(0.5 + 0.51 - 0), abs(0.49 - 1)]
    assert found.error.value == pytest.approx(sum(gaps) / 8)
    assert found.brier.value == pytest.approx(np.mean((chances - labels) ** 2))
    assert found.error.low <= found.error.value <= found.error.high
    assert (found.candidates, found.queries, found.relevant) == (8, 3, 0.5)
    assert [(each.candidates, each.relevant) for each in found.bins] == [(2, 0.5), (1, 1.0), (2, 0.0), (3, 2 / 3)]
    assert found.by_length["3 words"] is None
    assert found.by_length["1 word"] is not None
    assert found.by_length["1 word"].candidates == 3
    assert found.by_length["4 words and more"] is not None
    assert found.near_even is not None
    assert (found.near_even.candidates, found.near_even.relevant) == (3, 1 / 3)
    assert brier_by_query(candidates, chances)["a b"] == pytest.approx((0.12**2 + 0.88**2) / 2)


def test_figures_need_candidates() -> None:
    nothing = judged_candidates(PAIRS, {"lamp": []}, every_positive_known=True)
    with pytest.raises(DataError, match="is judged by candidates of held-out queries, got none that is judged"):
        reliability(nothing, np.zeros(0))

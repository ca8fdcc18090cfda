"""One score of two stages, by hand: shares of logit and first score, model numbers aside."""

from __future__ import annotations

import numpy as np
import pytest

from trident.ranking.mixing import EQUAL_SHARES, WEIGHTS, first_scores, mixed, tier

LOGITS = np.array([3.0, -1.0, 0.5], dtype=np.float32)
FIRST = np.array([0.2, 0.9, 0.5], dtype=np.float32)


def test_shares_are_of_the_logit_and_of_twenty_first_scores() -> None:
    assert mixed(LOGITS, FIRST, 0.3).tolist() == pytest.approx([3.7, 12.3, 7.15])
    assert mixed(LOGITS, FIRST, 0.3).dtype == np.float32
    halves = mixed(LOGITS, FIRST, EQUAL_SHARES)
    assert (2 * halves).tolist() == pytest.approx((LOGITS + 20 * FIRST).tolist())


def test_the_ends_are_either_stage_alone() -> None:
    assert np.array_equal(mixed(LOGITS, FIRST, 1.0), LOGITS)  # the very bits: generations before there were shares
    assert np.argsort(-mixed(LOGITS, FIRST, 0.0)).tolist() == np.argsort(-FIRST).tolist()
    assert 0 not in WEIGHTS
    assert WEIGHTS[-1] == 1.0


def test_the_first_score_is_what_was_fused_without_model_numbers() -> None:
    cosines = np.array([0.5, 0.4, 0.3], dtype=np.float32)
    assert np.array_equal(first_scores(cosines, []), cosines)
    parts = [
        {"fused": 3.6, "model_numbers": 3},
        {"fused": 1.0, "model_numbers": 1},
        {"fused": 0.75, "model_numbers": 0},
    ]
    assert [tier(part) for part in parts] == [3, 1, 0]
    assert first_scores(cosines, parts).tolist() == pytest.approx([0.6, 0, 0.75])  # the second's cosine was below 0

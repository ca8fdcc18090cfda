"""One score of two stages: the reranker's logit, and what the first stage said, in shares.

    scores = mixed(logits, first_scores(cosines, fused), weight)

A cross-encoder reads both texts but knows little else; the first stage was trained on all that people bought or called
relevant. Their sum beats either where both know something, and a share of zero is the first stage's own order, so that
a second stage need not lose. The share is one number, chosen on validation queries when a generation is exported.

Source: Lin, Nogueira and Yates 2021, Pretrained transformers for text ranking, section 3.2.2 (interpolation of scores).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a score of the first stage, 0 to 1, is multiplied by beside a logit: one over the temperature, 0.05, that
# encoders are trained with, so that both are log-odds of about one size.
FIRST_SCALE = 20.0
EQUAL_SHARES = 0.5  # the order of logit + 20 x first score
WEIGHTS = tuple(share / 10 for share in range(1, 11))  # of the logit, that are tried; 1: the logit alone


def mixed(logits: NDArray[np.float32], first: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Return ``weight`` x logit + (1 - ``weight``) x 20 x first score; the logits themselves for a weight of 1.

    Args:
        logits: (N,) of pairs.
        first: (N,) what the first stage said of them.
        weight: 0 to 1.
    """
    if weight == 1:
        return logits
    shares = np.float32(weight), np.float32((1 - weight) * FIRST_SCALE)
    scores: NDArray[np.float32] = shares[0] * logits + shares[1] * first
    return scores


def first_scores(cosines: NDArray[np.float32], parts: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    """Return what the first stage's order was decided by, (N,) float32.

    Args:
        cosines: (N,).
        parts: What was said of each product's place, where words took part; none: cosines decided. What stands in front
            for a model number does so before and after a second stage, and is no part of the score.
    """
    if not parts:
        return cosines
    return np.array([part["fused"] - tier(part) for part in parts], dtype=np.float32)


def tier(part: Mapping[str, Any]) -> int:
    """Return what model numbers of the query are worth in a product, which is a part of what was fused."""
    return int(part["model_numbers"])

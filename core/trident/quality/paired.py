"""How much quality changes between encoders: paired bootstrap over queries, both judged on the same resamples.

Source: Efron and Tibshirani 1993, An introduction to the bootstrap; for search, Sakai 2006, Evaluating evaluation
metrics based on the bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs
from trident.quality.metrics import Interval, WeightedAuc, ndcg_by_query, resamples, roc_auc


@dataclass(frozen=True, kw_only=True)
class QualityChange:
    """New minus old, each with its 95% interval; above zero is better."""

    roc_auc: Interval
    ndcg_at_10: Interval

    def worst(self) -> float:
        """Return the lower of the two upper ends: below zero, the change is for the worse beyond chance."""
        return min(self.roc_auc.high, self.ndcg_at_10.high)


def quality_change(pairs: Pairs, new: NDArray[np.float32], old: NDArray[np.float32]) -> QualityChange:
    """Return how pooled ROC-AUC and mean NDCG@10 over judged products change.

    Args:
        pairs: P pairs.
        new: (P,) scores, higher is more relevant.
        old: (P,) scores of what is compared with.

    Raises:
        DataError: If all labels are equal, or no query has a relevant product.
    """
    areas = WeightedAuc(pairs, new), WeightedAuc(pairs, old)
    changes = []
    for times in resamples(areas[0].queries):
        found = areas[0].of(times), areas[1].of(times)
        if found[0] is not None and found[1] is not None:
            changes.append(found[0] - found[1])
    value = roc_auc(pairs.labels, new) - roc_auc(pairs.labels, old)
    return QualityChange(
        roc_auc=_interval(value, changes),
        ndcg_at_10=mean_change(ndcg_by_query(pairs, new), ndcg_by_query(pairs, old)),
    )


def mean_change(new: dict[str, float], old: dict[str, float]) -> Interval:
    """Return how the mean of one value a query changes; both have the same queries."""
    differences = np.array([new[query] - old[query] for query in sorted(old)])  # (Q,)
    means = [float((times * differences).mean()) for times in resamples(len(differences))]
    return _interval(float(differences.mean()), means)


def _interval(value: float, resampled: list[float]) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))

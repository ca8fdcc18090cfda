"""The share of the logit beside the first stage's score: chosen on validation queries, judged on those left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trident.quality.metrics import Interval
from trident.ranking.mixing import WEIGHTS
from trident_export.judge.rerank_quality import FoundProducts, Logits, change_of

FOLDS = 5  # of validation queries: the gain of each is that of the weight that the others chose


@dataclass(frozen=True)
class Share:
    """What was chosen.

    Attributes:
        weight: Of the logit, above 0.
        change: Of NDCG@10 over the first stage, each query judged by the weight that was chosen without it.
        gains: Mean NDCG@10 of validation queries over the first stage's, by weight.
    """

    weight: float
    change: Interval
    gains: dict[float, float]


def choose_share(found: FoundProducts, logits: Logits, *, weight: float | None = None) -> Share:
    """Return the share that ranks validation queries best; of equal ones the smallest.

    Whether a second stage is served is not asked here: ``change`` says whether it gains. A weight of 0, the first stage
    alone, takes part where the queries that are left out are judged, so that nothing is gained by luck.

    Args:
        found: The first stage's candidates of validation queries.
        logits: Of them.
        weight: That is served whatever it gains; None: it is chosen.

    Raises:
        DataError: If there is no query.
    """
    before = found.ndcg()
    tried = WEIGHTS if weight is None else (weight,)
    after = {each: found.ndcg(found.mixed(logits, each)) for each in tried}
    if weight is not None:
        change = change_of(after[weight], before)
        return Share(weight, change, {weight: change.value})
    names = sorted(before)
    gains = np.array([[after[each][name] - before[name] for name in names] for each in tried])  # (W, Q)
    crossed = np.zeros(len(names))
    fold_of = np.arange(len(names)) % FOLDS
    for fold in range(FOLDS):
        inside = fold_of == fold
        others = gains[:, ~inside].mean(axis=1) if (~inside).any() else np.zeros(len(tried))
        if others.max() > 0:
            crossed[inside] = gains[int(others.argmax())][inside]
    judged = {name: before[name] + float(gain) for name, gain in zip(names, crossed, strict=True)}
    means = gains.mean(axis=1)
    shares = {each: float(mean) for each, mean in zip(tried, means, strict=True)}
    return Share(tried[int(means.argmax())], change_of(judged, before), shares)

"""The last stage's trees: what they are fitted on."""

from __future__ import annotations

import numpy as np

from trident_export.stages import trees


def table(labels: np.ndarray, sizes: list[int]) -> trees._Table:
    features = np.random.default_rng(1).normal(size=(len(labels), 3))
    features[:, 0] += 2.0 * (labels == 1)  # what decides
    return trees._Table(
        features, labels.astype(np.int8), sizes, [str(number) for number in range(len(sizes))], ["a", "b", "c"]
    )


def test_products_that_nobody_judged_are_no_opponents() -> None:
    generator = np.random.default_rng(0)
    sizes = [30] * 40
    labels = generator.integers(0, 2, sum(sizes))
    labels[generator.random(len(labels)) < 0.6] = -1
    labels[:30] = -1  # a query of which nothing is judged
    whole = table(labels, sizes)
    judged = labels >= 0
    counts = [int(part.sum()) for part in np.split(judged, np.cumsum(sizes)[:-1])]
    alone = trees._Table(whole.features[judged], whole.labels[judged], counts[1:], whole.queries[1:], whole.names)
    fitted = trees._fit(whole)
    assert fitted.model_to_string() == trees._fit(alone).model_to_string()
    gains = dict(zip(whole.names, fitted.feature_importance("gain").tolist(), strict=True))
    assert max(gains, key=lambda name: gains[name]) == "a"

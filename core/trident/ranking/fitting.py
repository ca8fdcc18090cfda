"""Fits the map from scores to probabilities on judged candidates of what is served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trident.config import from_table
from trident.errors import ConfigError, DataError
from trident.ranking.calibration import Kind, ScoreMap, bent_features, beta_features

FEWEST_QUERIES = 15  # fewer say nothing of queries to come
FEWEST_OF_A_CLASS = 20
FOLDS = 5
SMALLEST = 1e-6  # a coefficient below it is none


def fit_map(
    scores: NDArray[np.float32], labels: NDArray[np.int8], queries: NDArray[np.int64], *, kinds: tuple[Kind, ...]
) -> ScoreMap:
    """Return the map that fits best, by the Brier score of queries that it was not fitted on.

    Args:
        scores: (C,) of candidates.
        labels: (C,) 1 where the candidate is relevant, 0 where it is not.
        queries: (C,) number of each candidate's query.
        kinds: Of maps that are tried.

    Raises:
        DataError: If there are too few queries or candidates, or higher scores are not the likelier ones.
    """
    relevant, distinct = int(labels.sum()), np.unique(queries)
    if len(distinct) < FEWEST_QUERIES or min(relevant, len(labels) - relevant) < FEWEST_OF_A_CLASS:
        raise DataError(
            f"a calibration needs {FEWEST_QUERIES} validation queries with {FEWEST_OF_A_CLASS} relevant and as many "
            f"irrelevant candidates, got {len(distinct)} with {relevant:,} and {len(labels) - relevant:,}"
        )
    fold_of = np.searchsorted(distinct, queries) % FOLDS  # (C,)
    errors: dict[Kind, float] = {}
    for kind in kinds:
        squares = np.zeros(len(scores))
        for fold in range(FOLDS):
            inside = fold_of == fold
            if len(set(labels[~inside].tolist())) == 2 and inside.any():
                fitted = _fit(kind, scores[~inside], labels[~inside])
                squares[inside] = (fitted.probability(scores[inside]) - labels[inside]) ** 2
        errors[kind] = float(squares.mean())
    return _fit(min(kinds, key=lambda kind: errors[kind]), scores, labels)


def _fit(kind: Kind, scores: NDArray[np.float32], labels: NDArray[np.int8]) -> ScoreMap:
    values = scores.astype(np.float64)
    if kind == "bent":
        return _bent(values, labels)
    columns = [values] if kind == "platt" else list(beta_features(values))
    used = list(range(len(columns)))
    while used:
        weights, offset = _regression(np.stack([columns[column] for column in used], axis=1), labels)
        falling = [column for column, weight in zip(used, weights, strict=True) if weight < SMALLEST]
        if not falling:
            found = dict(zip(used, weights, strict=True))
            table = {"kind": kind, "first": found.get(0, 0.0), "second": found.get(1, 0.0), "offset": offset}
            try:
                return from_table(ScoreMap, table, where="as fitted")
            except ConfigError as error:
                raise DataError(str(error)) from error
        used = [column for column in used if column not in falling]
    raise DataError("a calibration needs relevant candidates that score higher than others, got the opposite")


def _bent(values: NDArray[np.float64], labels: NDArray[np.int8]) -> ScoreMap:
    """Return a map with a bend where Platt's says one half; Platt's own where one of its sides would fall."""
    straight = _fit("platt", values.astype(np.float32), labels)
    centre, width = -straight.offset / straight.first, 1.0 / straight.first
    weights, offset = _regression(np.stack(bent_features((values - centre) / width), axis=1), labels)
    if min(weights) < SMALLEST:
        return straight
    table = {"kind": "bent", "first": weights[0], "second": weights[1], "offset": offset}
    try:
        return from_table(ScoreMap, {**table, "centre": centre, "width": width}, where="as fitted")
    except ConfigError as error:
        raise DataError(str(error)) from error


def _regression(columns: NDArray[np.float64], labels: NDArray[np.int8]) -> tuple[list[float], float]:
    """Return weights and offset of a logistic regression; the targets are drawn in as Platt does, section 2.2.

    Args:
        columns: (C, F).
        labels: (C,).
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and nobody who serves needs it

    positive = int(labels.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    target = np.where(labels == 1, high, low)  # (C,)
    means, deviations = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-12)
    scaled = (columns - means) / deviations
    model = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8)
    model.fit(
        np.concatenate([scaled, scaled]),
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    weights = model.coef_[0] / deviations  # (F,)
    return weights.tolist(), float(model.intercept_[0] - weights @ means)

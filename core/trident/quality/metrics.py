"""How well an encoder ranks: pooled ROC-AUC, NDCG@10, MRR@10 and Recall@k, one value a query where it has one.

The measures are those of scikit-learn and ir-measures; this module turns pairs and search results into their input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import NDArray

from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident.quality.ranked import Judged, judgements, of_each_query, ranked_products, require_numbers, search_results

BOOTSTRAP_RESAMPLES = 500


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its 95% bootstrap interval over queries."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class JudgedQuality:
    """Quality over judged pairs: only products with a label are ranked.

    ``roc_auc`` is pooled over all pairs, ties count half; ``ndcg_at_10`` (the grade is the gain) and ``mrr_at_10`` are
    means over the ``queries`` with at least one relevant product.
    """

    roc_auc: Interval
    ndcg_at_10: float
    mrr_at_10: float
    pairs: int
    queries: int


@dataclass(frozen=True, kw_only=True)
class CatalogueQuality:
    """Quality over a whole catalogue: every product is ranked, one without a label counts as irrelevant.

    ``ndcg_low`` and ``ndcg_high`` are the 95% bootstrap interval of NDCG@10 over queries; ``judged_at_10`` is the share
    of the first ten products that have a label. Figures of earlier versions have none of the three.
    """

    ndcg_at_10: float
    mrr_at_10: float
    recall_at_10: float
    recall_at_100: float
    products: int
    queries: int
    ndcg_low: float | None = None
    ndcg_high: float | None = None
    judged_at_10: float | None = None


def roc_auc(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> float:
    """Return the area under the ROC curve, pooled over all pairs.

    Args:
        labels: (P,) 0 and 1.
        scores: (P,) higher is more relevant.

    Raises:
        DataError: If the labels are all equal, or a score is no number.
    """
    require_numbers(scores)
    if len(set(labels.tolist())) < 2:
        raise DataError(
            f"ROC-AUC needs relevant and irrelevant pairs, got {int(labels.sum())} relevant of {len(labels)}"
        )
    from sklearn.metrics import roc_auc_score  # three seconds to import: what is refused is told before

    return float(roc_auc_score(labels, scores))


def ndcg_by_query(pairs: Pairs, scores: NDArray[np.float32]) -> dict[str, float]:
    """Return NDCG@10 of scores over the judged products of each query with a relevant one, by normalised query.

    Args:
        pairs: P pairs.
        scores: (P,) one score a pair, higher is more relevant.

    Raises:
        DataError: If no query has a relevant product.
    """
    return of_each_query(judgements(pairs), ranked_products(pairs, scores), {"ndcg": nDCG @ 10})["ndcg"]


def judged_quality(pairs: Pairs, scores: NDArray[np.float32]) -> JudgedQuality:
    """Return the quality of scores over judged pairs.

    Args:
        pairs: P pairs.
        scores: (P,) one score a pair, higher is more relevant.

    Raises:
        DataError: If all labels are equal, or no query has a relevant product.
    """
    values = of_each_query(judgements(pairs), ranked_products(pairs, scores), {"ndcg": nDCG @ 10, "mrr": RR @ 10})
    return JudgedQuality(
        roc_auc=_auc_interval(pairs, scores),
        ndcg_at_10=_mean(values["ndcg"]),
        mrr_at_10=_mean(values["mrr"]),
        pairs=len(pairs),
        queries=len(values["ndcg"]),
    )


def catalogue_quality(
    pairs: Pairs, found: Mapping[str, Sequence[tuple[str, float]]], *, products: int
) -> CatalogueQuality:
    """Return the quality of search results over a whole catalogue.

    Args:
        pairs: The judgements.
        found: For each distinct query of ``pairs``, (product id, score) of the best 100 products; equal scores are
            taken in the order in which they stand there.
        products: Size of the catalogue.

    Raises:
        DataError: If no query has a relevant product, or a score is no number.
    """
    measures = {"ndcg": nDCG @ 10, "mrr": RR @ 10, "recall_10": R @ 10, "recall_100": R @ 100}
    judged, ranked = judgements(pairs), search_results(found)
    values = of_each_query(judged, ranked, measures)
    gains = np.array(list(values["ndcg"].values()))
    low, high = np.quantile([float((times * gains).mean()) for times in resamples(len(gains))], [0.025, 0.975])
    return CatalogueQuality(
        ndcg_at_10=_mean(values["ndcg"]),
        mrr_at_10=_mean(values["mrr"]),
        recall_at_10=_mean(values["recall_10"]),
        recall_at_100=_mean(values["recall_100"]),
        products=products,
        queries=len(values["ndcg"]),
        ndcg_low=float(low),
        ndcg_high=float(high),
        judged_at_10=_judged_share(judged, ranked),
    )


def catalogue_ndcg_by_query(pairs: Pairs, found: Mapping[str, Sequence[tuple[str, float]]]) -> dict[str, float]:
    """Return NDCG@10 of search results over a whole catalogue, by normalised query; see ``catalogue_quality``.

    Args:
        pairs: The judgements.
        found: For each distinct query of ``pairs``, (product id, score) of the best 10 products.

    Raises:
        DataError: If no query has a relevant product.
    """
    return of_each_query(judgements(pairs), search_results(found), {"ndcg": nDCG @ 10})["ndcg"]


def _judged_share(judged: Judged, ranked: Mapping[str, Sequence[str]]) -> float:
    """Return the share of the first ten products of all queries that have a label."""
    shown = [(product in row) for query, row in judged.items() for product in ranked.get(query, ())[:10]]
    return float(np.mean(shown)) if shown else 0.0


def _mean(by_query: Mapping[str, float]) -> float:
    return float(np.mean(list(by_query.values())))


def _auc_interval(pairs: Pairs, scores: NDArray[np.float32]) -> Interval:
    value = roc_auc(pairs.labels, scores)
    area = WeightedAuc(pairs, scores)
    resampled = [found for times in resamples(area.queries) if (found := area.of(times)) is not None]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))


def resamples(queries: int) -> Iterator[NDArray[np.int64]]:
    """Yield, for each bootstrap resample, how often each query is in it, (Q,); the same ones every time."""
    generator = np.random.default_rng(0)
    for _ in range(BOOTSTRAP_RESAMPLES):
        yield np.bincount(generator.integers(0, queries, queries), minlength=queries)


class WeightedAuc:
    """Pooled ROC-AUC of pairs whose queries count several times or not at all; ties count half."""

    def __init__(self, pairs: Pairs, scores: NDArray[np.float32]) -> None:
        """Sort the pairs by score, once."""
        names = np.array([normalized_query(query) for query in pairs.queries], dtype=object).astype(str)
        _, query_of = np.unique(names, return_inverse=True)  # (P,)
        order = np.argsort(scores, kind="stable")
        self._labels, self._query_of = pairs.labels[order], query_of[order]
        self._groups = np.concatenate([[0], np.cumsum(np.diff(scores[order]) != 0)])  # equal scores share a group
        self.queries = int(query_of.max()) + 1

    def of(self, times: NDArray[np.int64]) -> float | None:
        """Return the area with query q, in the order of their names, ``times[q]`` times; None without a class."""
        weights = times[self._query_of]  # (P,)
        positive = np.bincount(self._groups, weights * (self._labels == 1))  # (G,)
        negative = np.bincount(self._groups, weights * (self._labels == 0))  # (G,)
        total = positive.sum() * negative.sum()
        if total == 0:
            return None
        below = np.cumsum(negative) - negative
        return float((positive * (below + 0.5 * negative)).sum() / total)

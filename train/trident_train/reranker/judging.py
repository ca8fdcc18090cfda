"""How good a reranker is: of the candidates that the first stage gives, and as a classifier of judged pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs, query_hash
from trident.errors import DataError
from trident.quality.metrics import Interval, catalogue_quality, judged_quality
from trident.quality.reliability import Candidates as JudgedPairs
from trident.quality.reliability import reliability
from trident.ranking.fitting import fit_map
from trident.ranking.mixing import EQUAL_SHARES, mixed
from trident_train.judge.evaluate import Found, Ranking
from trident_train.loop.selection import Score
from trident_train.recipe import TrainRecipe
from trident_train.reranker.first_stage import Candidates, FirstStage
from trident_train.reranker.model import CrossEncoder

DEPTH = 100  # products of a query that are ranked, reranked ones first


@dataclass(frozen=True)
class JudgedSplit:
    """A split as a reranker meets it: its pairs, candidates of some of its queries, what the first stage says of both.

    ``cosines`` are (P,) of the pairs.
    """

    pairs: Pairs
    candidates: Candidates
    cosines: NDArray[np.float32]
    asked: Pairs  # pairs of the queries that have candidates

    @classmethod
    def of(cls, stage: FirstStage, pairs: Pairs, *, queries: int) -> JudgedSplit:
        """Return a split, with candidates for at most so many of its queries, drawn by their hashes."""
        names = sorted(dict.fromkeys(pairs.queries), key=lambda query: query_hash(query, "judged:"))[:queries]
        chosen = set(names)
        asked = pairs.take(row for row, query in enumerate(pairs.queries) if query in chosen)
        return cls(pairs, stage.candidates(names, DEPTH), stage.pair_scores(pairs), asked)

    def before(self) -> Ranking:
        """Return what the first stage says."""
        found = {  # by place: words may have put one with a smaller cosine in front
            query: [(each.product_id, -float(place)) for place, each in enumerate(products)]
            for query, products in self.candidates.items()
        }
        return Ranking(self.cosines, found)

    def after(self, reranker: CrossEncoder, *, reranked: int) -> Ranking:
        """Return what a reranker says: its logits of the pairs, both stages' scores of the first candidates.

        Both count in equal shares; an export chooses the shares that are served.
        """
        logits = reranker.score(self.pairs.queries, self.pairs.titles)
        return Ranking(logits, reranked_products(reranker, self.candidates, reranked=reranked))


def reranked_products(reranker: CrossEncoder, candidates: Candidates, *, reranked: int) -> Found:
    """Return the products of each query as they are served: by both stages' scores, the others behind as they were.

    What has model numbers of the query stands in front of both. A product's score is its place, negative.
    """
    heads = [(query, each) for query, products in candidates.items() for each in products[:reranked]]
    logits = reranker.score([query for query, _ in heads], [each.title for _, each in heads])
    both = mixed(logits, np.array([each.score for _, each in heads], dtype=np.float32), EQUAL_SHARES)
    scores: dict[str, list[float]] = {}
    for (query, _), score in zip(heads, both.tolist(), strict=True):
        scores.setdefault(query, []).append(score)
    found: Found = {}
    for query, products in candidates.items():
        own = scores.get(query, [])
        order = [*sorted(range(len(own)), key=lambda place: -own[place]), *range(len(own), len(products))]
        order.sort(key=lambda place: -products[place].tier)
        found[query] = [(products[place].product_id, -float(number)) for number, place in enumerate(order)]
    return found


def score_of(ranking: Ranking, split: JudgedSplit, recipe: TrainRecipe) -> dict[str, float]:
    """Return the metrics of the recipe's selection."""
    judged = judged_quality(split.pairs, ranking.scores)
    found = {
        "roc_auc": judged.roc_auc.value,
        "ndcg_at_10": judged.ndcg_at_10,
        "mrr_at_10": judged.mrr_at_10,
    }
    if ranking.found is not None:
        whole = catalogue_quality(split.asked, ranking.found, products=DEPTH)
        found |= {"catalogue_ndcg_at_10": whole.ndcg_at_10, "catalogue_recall_at_100": whole.recall_at_100}
    return {name: found[name] for name in recipe.selection.metrics}


def mean_score(by_source: Sequence[tuple[str, dict[str, float]]]) -> Score:
    """Return the mean over sources of the mean over metrics."""
    means = [float(np.mean(list(metrics.values()))) for _, metrics in by_source]
    named = {f"{name}/{key}" if name else key: value for name, metrics in by_source for key, value in metrics.items()}
    return Score(value=float(np.mean(means)), metrics=named)


@dataclass(frozen=True, kw_only=True)
class ClassifierQuality:
    """Brier score of an arm's scores as probabilities, by a map fitted on the validation split; None: none could be."""

    arm: str
    brier: Interval | None
    reason: str = ""
    data: str = ""


def classifier_quality(
    arm: str, validation: tuple[Pairs, NDArray[np.float32]], test: tuple[Pairs, NDArray[np.float32]], *, data: str = ""
) -> ClassifierQuality:
    """Return how good an arm is as a classifier of judged pairs.

    Args:
        arm: Its name.
        validation: Pairs and scores (P,) that the map from scores to probabilities is fitted on.
        test: Those that are judged.
        data: Name of their source.
    """
    try:
        fitted, judged = _numbered(*validation), _numbered(*test)
        chances = fit_map(fitted.scores, fitted.labels, fitted.queries, kinds=("platt", "bent"))
    except DataError as error:
        return ClassifierQuality(arm=arm, brier=None, reason=str(error), data=data)
    brier = reliability(judged, chances.probability(judged.scores)).brier
    return ClassifierQuality(arm=arm, brier=brier, data=data)


def _numbered(pairs: Pairs, scores: NDArray[np.float32]) -> JudgedPairs:
    names = list(dict.fromkeys(pairs.queries))
    number = {name: place for place, name in enumerate(names)}
    queries = np.array([number[query] for query in pairs.queries], dtype=np.int64)
    return JudgedPairs(scores, pairs.labels.astype(np.int8), queries, tuple(names))

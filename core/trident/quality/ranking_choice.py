"""What the validation queries of a run say of ranking: BM25's parameters, the weight of words, spelling, weak answers.

Nothing here sees a test query. Each choice stands beside its interval; what shows no gain is off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.config import to_table
from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.lexical.index import LexicalConfig, LexicalIndex, LexicalQuery, Tokenized
from trident.lexical.postings import Bm25, Occurrences, Postings
from trident.lexical.vocabulary import Vocabulary
from trident.quality.metrics import catalogue_ndcg_by_query
from trident.quality.paired import mean_change
from trident.ranking.fusion import Candidates
from trident.ranking.legs import Legs, Nearest, Plan, RankedQuery, Ranker, fused_order
from trident.ranking.settings import SpellingLegs

FEWEST = 12  # queries that a choice is made by
K = 10
GRID = tuple(Bm25(k1=k1, b=b) for k1 in (0.1, 0.3, 0.6, 1.2) for b in (0.3, 0.6, 0.8))
FIELD_WEIGHTS = (0, 1, 2, 4)
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
WEAK_SHARE = 0.2  # of weak answers that hold a relevant product, at most
FEWEST_WEAK = 5  # answers that a bound of weakness is seen in, and good ones that it is to be below

ByQuery = dict[str, float]  # NDCG@10, by normalised query


@dataclass(frozen=True, eq=False)
class Judgements:
    """The validation pairs of products that a catalogue holds.

    Attributes:
        pairs: All of them.
        queries: Distinct ones, of which the catalogue holds a relevant product.
        catalogue: What is searched.
    """

    pairs: Pairs
    queries: list[str]
    catalogue: Catalogue

    @classmethod
    def of(cls, pairs: Pairs, catalogue: Catalogue) -> Judgements:
        """Return the judgements over a catalogue; there may be none."""
        relevant = {product for product, label in zip(pairs.product_ids, pairs.labels.tolist(), strict=True) if label}
        there = catalogue.texts[0].rows_of(relevant)
        queries: dict[str, str] = {}
        for query, product, label in zip(pairs.queries, pairs.product_ids, pairs.labels.tolist(), strict=True):
            if label and product in there:
                queries.setdefault(normalized_query(query), query)
        kept = [row for row, query in enumerate(pairs.queries) if normalized_query(query) in queries]
        return cls(pairs.take(kept), list(queries.values()), catalogue)

    def ndcg(self, rows: Mapping[str, NDArray[Any]]) -> ByQuery:
        """Return NDCG@10 of the rows found for each query, best first."""
        ids = self.catalogue.texts[0]
        found = {
            query: [(ids[row], -float(place)) for place, row in enumerate(each[:K].tolist())]
            for query, each in rows.items()
        }
        return catalogue_ndcg_by_query(self.pairs, found)


def mean(values: ByQuery) -> float:
    """Return the mean over queries."""
    return float(np.mean(list(values.values())))


def choose_bm25(
    tokenized: Tokenized, config: LexicalConfig, judged: Judgements
) -> tuple[LexicalConfig, dict[str, Any]]:
    """Return the parameters that rank the validation queries best, and what was seen.

    Others than the given ones are taken where they are better beyond chance.

    Args:
        tokenized: The catalogue.
        config: With the defaults, and the fields that may count.
        judged: By which.
    """
    if len(judged.queries) < FEWEST:
        return config, {"queries": len(judged.queries), "tuned": False}

    tokens, no_words = len(tokenized.vocabulary), Vocabulary.of([])
    no_counts = np.zeros(0, dtype=np.int64)

    def index_of(candidate: LexicalConfig, postings: Postings) -> LexicalIndex:
        return LexicalIndex(candidate, tokenized.vocabulary, postings, no_words, no_counts)

    empty = index_of(config, Occurrences.of([], tokens, ()).postings(config.bm25))
    asked = {token for query in judged.queries for token in empty.tokens(query)}

    def occurrences(candidate: LexicalConfig) -> Occurrences:
        return Occurrences.of(tokenized.documents(candidate), tokens, asked)

    def judge(candidate: LexicalConfig, seen: Occurrences) -> ByQuery:
        index = index_of(candidate, seen.postings(candidate.bm25))
        return judged.ndcg({query: index.search(query, K)[0] for query in judged.queries})

    there = occurrences(config)
    default = judge(config, there)
    best, values = config, default
    for bm25 in GRID:
        found = judge(replace(config, bm25=bm25), there)
        if mean(found) > mean(values):
            best, values = replace(config, bm25=bm25), found
    for name in config.fields:
        for weight in FIELD_WEIGHTS:
            candidate = replace(best, fields={**best.fields, name: weight})
            found = judge(candidate, occurrences(candidate))
            if mean(found) > mean(values):
                best, values = candidate, found
    gain = mean_change(values, default)
    seen = {"queries": len(judged.queries), "default": mean(default), "best": mean(values), "gain": to_table(gain)}
    tuned = gain.low > 0
    return (best if tuned else config), {**seen, "tuned": tuned}


@dataclass(frozen=True, eq=False)
class WeightChoice:
    """The weight of words, 0 to 1, None for by ranks, and what was seen."""

    weight: float | None
    seen: dict[str, Any]


@dataclass(frozen=True, eq=False)
class AskedLegs:
    """What the legs found for Q queries, once, to be ordered by many weights."""

    queries: Sequence[str]
    candidates: Sequence[Candidates]
    words: Sequence[LexicalQuery]

    @classmethod
    def ask(
        cls, queries: Sequence[str], vectors: NDArray[np.float32], index: LexicalIndex, legs: Legs, depth: int
    ) -> AskedLegs:
        """Ask both legs.

        Args:
            queries: Q of them.
            vectors: (Q, D), theirs.
            index: Whose words they are.
            legs: Of vectors and words.
            depth: Of each leg.
        """
        ranker, words, found = Ranker(legs, depth), [index.query(query) for query in queries], []
        for row, query in enumerate(words):
            plan = Plan(query=query, weight=0.5, runs_dense=True, runs_lexical=True)
            asked = RankedQuery(plan=plan, vector=vectors[row : row + 1])
            nearest: Nearest = legs.nearest(asked, depth)
            found.append(ranker.candidates(asked, depth, legs.sums(query), nearest)[0])
        return cls(queries, found, words)

    def order(self, weight: float | None) -> dict[str, NDArray[np.int64]]:
        """Return the rows of each query by a weight; with 0, as where the lexical leg is not run."""
        ordered = {}
        for query, candidates, words in zip(self.queries, self.candidates, self.words, strict=True):
            chosen = candidates if weight != 0 else _without_words(candidates, words)
            plan = Plan(query=words, weight=weight, runs_dense=True, runs_lexical=True)
            ordered[query] = chosen.rows[fused_order(chosen, plan).places]
        return ordered


def choose_weight(asked: AskedLegs, judged: Judgements) -> WeightChoice:
    """Return the weight that ranks the validation queries best: 0 unless another is better beyond chance.

    Without a judged query it is None, which is by ranks: nothing says what scores are worth.

    Args:
        asked: The queries of the judgements.
        judged: By which.
    """
    count = len(judged.queries)
    if not count:
        return WeightChoice(None, {"queries": 0})
    by_weight = {weight: judged.ndcg(asked.order(weight)) for weight in WEIGHTS}
    means = {f"{weight:g}": round(mean(values), 6) for weight, values in by_weight.items()}
    best = max(WEIGHTS[1:], key=lambda weight: mean(by_weight[weight]))
    gain = mean_change(by_weight[best], by_weight[0.0])
    over_words = mean_change(by_weight[best], by_weight[1.0])
    wins = count >= FEWEST and gain.low > 0
    seen = {
        "queries": count,
        "ndcg_at_10": means,
        "best": best,
        "gain": to_table(gain),
        "gain_over_words": to_table(over_words),
    }
    return WeightChoice(best if wins else 0.0, seen)


def choose_weak(best_cosines: NDArray[np.float32], is_good: NDArray[np.bool_]) -> tuple[float | None, dict[str, Any]]:
    """Return the cosine below which an answer is weak, and what was seen; None: no bound keeps the promise.

    Fewer than one in five of the validation answers below it hold a relevant product. Where hardly an answer at all
    does, the labels are those of another catalogue: they say nothing of this one.

    Args:
        best_cosines: (Q,) of each answer.
        is_good: (Q,) whether it holds a relevant product.
    """
    order = np.argsort(best_cosines, kind="stable")
    cosines, good = best_cosines[order], np.cumsum(is_good[order])
    seen: dict[str, Any] = {"queries": len(order), "good": float(np.mean(is_good)) if len(order) else 0.0}
    chosen = None
    for count in range(FEWEST_WEAK, len(order)) if int(is_good.sum()) >= FEWEST_WEAK else ():
        if good[count - 1] / count < WEAK_SHARE and cosines[count] > cosines[count - 1]:
            chosen = count
    if chosen is None:
        return None, seen
    bound = float((cosines[chosen - 1] + cosines[chosen]) / 2)
    return bound, {**seen, "weak": chosen, "weak_good": float(good[chosen - 1] / chosen)}


def choose_spelling(
    plain: ByQuery, by_legs: Mapping[SpellingLegs, Callable[[], ByQuery]], touched: int
) -> tuple[SpellingLegs, dict[str, Any]]:
    """Return the legs that get the corrected text, and what was seen; both where too few queries say otherwise.

    Args:
        plain: What the queries that are corrected find as they were typed.
        by_legs: What they find with these legs corrected.
        touched: How many queries are corrected.
    """
    every = max(by_legs, key=len)
    if touched < FEWEST:
        return every, {"queries": touched}
    found = {legs: judge() for legs, judge in by_legs.items()}
    best = max(found, key=lambda legs: (mean(found[legs]), len(legs)))
    change = mean_change(found[best], plain)
    seen = {"queries": touched, "typed": mean(plain), "corrected": mean(found[best]), "gain": to_table(change)}
    return (best if change.value > 0 else ()), seen


def _without_words(candidates: Candidates, words: LexicalQuery) -> Candidates:
    """Return what the dense leg found, and what has a model number."""
    kept = (candidates.dense_ranks > 0) | np.isin(candidates.rows, list(words.codes))
    return Candidates(
        candidates.rows[kept],
        candidates.cosines[kept],
        np.zeros(int(kept.sum()), dtype=np.float32),
        candidates.dense_ranks[kept],
        candidates.lexical_ranks[kept],
    )

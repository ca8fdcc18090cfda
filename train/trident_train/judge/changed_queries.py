"""The queries whose ranking changed most between two arms, with their products as each arm ranks them."""

from __future__ import annotations

from dataclasses import dataclass

from trident.data.pairs import Pairs, normalized_query
from trident.quality.metrics import ndcg_by_query
from trident.quality.ranked import best_first
from trident_train.judge.evaluate import Scores

SHOWN_QUERIES = 5  # that gained, and as many that lost
SHOWN_PRODUCTS = 10  # of each query and arm: as deep as NDCG@10 looks


@dataclass(frozen=True)
class RankedProduct:
    """One judged product at its place in a ranking; ``rank`` counts from 1."""

    rank: int
    title: str
    grade: float
    relevant: bool
    score: float


@dataclass(frozen=True)
class ChangedQuery:
    """A query before and after; ``products`` counts all judged ones, the rankings hold the first ten."""

    query: str
    ndcg_before: float
    ndcg_after: float
    products: int
    before: list[RankedProduct]
    after: list[RankedProduct]

    @property
    def gain(self) -> float:
        """NDCG@10 after, less before."""
        return self.ndcg_after - self.ndcg_before


@dataclass(frozen=True)
class Changes:
    """How the queries with a relevant product fared; the shown ones stand the most changed first."""

    queries: int
    better: int
    worse: int
    gained: list[ChangedQuery]
    lost: list[ChangedQuery]


def changed_queries(pairs: Pairs, before: Scores, after: Scores) -> Changes:
    """Return the queries that gained and lost most by NDCG@10 over their judged products (linear gain of the grade).

    Args:
        pairs: P pairs.
        before: (P,) scores of one arm, higher is more relevant.
        after: (P,) scores of the other.
    """
    first, second = ndcg_by_query(pairs, before), ndcg_by_query(pairs, after)
    gains = {query: second[query] - first[query] for query in first}
    better = sorted((query for query in gains if gains[query] > 0), key=lambda query: (-gains[query], query))
    worse = sorted((query for query in gains if gains[query] < 0), key=lambda query: (gains[query], query))
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(pairs.queries):
        rows.setdefault(normalized_query(query), []).append(row)

    def change(query: str) -> ChangedQuery:
        part = pairs.take(rows[query])
        ranked = [_ranking(part, scores[rows[query]]) for scores in (before, after)]
        return ChangedQuery(
            query=part.queries[0],
            ndcg_before=first[query],
            ndcg_after=second[query],
            products=len(ranked[0]),
            before=ranked[0][:SHOWN_PRODUCTS],
            after=ranked[1][:SHOWN_PRODUCTS],
        )

    return Changes(
        queries=len(gains),
        better=len(better),
        worse=len(worse),
        gained=[change(query) for query in better[:SHOWN_QUERIES]],
        lost=[change(query) for query in worse[:SHOWN_QUERIES]],
    )


def _ranking(part: Pairs, scores: Scores) -> list[RankedProduct]:
    rows: dict[str, int] = {}
    for row in best_first(part, scores):
        rows.setdefault(part.product_ids[row], row)  # a pair may stand there twice
    return [
        RankedProduct(
            rank=rank,
            title=part.titles[row],
            grade=float(part.grades[row]),
            relevant=bool(part.labels[row]),
            score=float(scores[row]),
        )
        for rank, row in enumerate(rows.values(), start=1)
    ]

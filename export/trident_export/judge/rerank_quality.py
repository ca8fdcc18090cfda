"""How well a reranker orders what the first stage found, against the first stage, on judged queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs, normalized_query
from trident.encoder.pairs import PairRow, pair_rows
from trident.encoder.tokenization import TextTokenizer
from trident.errors import DataError
from trident.quality.metrics import Interval, catalogue_ndcg_by_query
from trident.quality.paired import mean_change
from trident.quality.reliability import Candidates, judged_candidates
from trident.ranking.mixing import first_scores, mixed, tier
from trident.ranking.pair_scorer import PairScorer
from trident.ranking.reranking import reranked_order

K = 10

Logits = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class FoundProducts:
    """The first stage's candidates of judged queries, best first: ids, titles and cosines of each query.

    ``parts`` are what was said of each place, of the queries where words took part; ``attributes`` the numbers of each
    product by name, where trees look at some.
    """

    pairs: Pairs
    product_ids: Mapping[str, Sequence[str]]
    titles: Mapping[str, Sequence[str]]
    cosines: Mapping[str, Sequence[float]]
    every_positive_known: bool
    parts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    attributes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def rows(self, tokenizer: TextTokenizer, reranked: int) -> list[PairRow]:
        """Return the pairs of the first ``reranked`` candidates of all queries."""
        texts = [(query, title) for query, titles in self.titles.items() for title in titles[:reranked]]
        return pair_rows(tokenizer, [query for query, _ in texts], [title for _, title in texts])

    def logits(self, scorer: PairScorer, tokenizer: TextTokenizer, reranked: int) -> dict[str, NDArray[np.float32]]:
        """Return the logits of the first ``reranked`` candidates of each query."""
        scores = scorer.score(self.rows(tokenizer, reranked))
        found, start = {}, 0
        for query, titles in self.titles.items():
            end = start + min(reranked, len(titles))
            found[query], start = scores[start:end], end
        return found

    def first(self, query: str) -> NDArray[np.float32]:
        """Return the first stage's scores of a query's candidates; see ``first_scores``."""
        return first_scores(np.array(self.cosines[query], dtype=np.float32), self.parts.get(query, ()))

    def mixed(self, logits: Logits, weight: float) -> dict[str, NDArray[np.float32]]:
        """Return the scores of both stages together, of the candidates that have logits."""
        return {query: mixed(own, self.first(query)[: len(own)], weight) for query, own in logits.items()}

    def ndcg(self, logits: Logits | None = None) -> dict[str, float]:
        """Return NDCG@10 by query, of the candidates as they were found, or as logits put them.

        Products that nobody judged are left out, unless every positive is known: then they are irrelevant.

        Raises:
            DataError: If no query has a relevant product.
        """
        known = {(normalized_query(query), product) for query, product in self._judged()}
        ranked = {}
        for query, ids in self.product_ids.items():
            order = range(len(ids)) if logits is None else self.order(query, logits[query])
            products = [ids[place] for place in order]
            if not self.every_positive_known:
                products = [each for each in products if (normalized_query(query), each) in known]
            ranked[query] = [(product, -float(place)) for place, product in enumerate(products[:K])]
        wanted = {normalized_query(query) for query in self.product_ids}
        judged = self.pairs.take(row for row, each in enumerate(self.pairs.queries) if normalized_query(each) in wanted)
        return catalogue_ndcg_by_query(judged, ranked)

    def order(self, query: str, scores: NDArray[np.float32]) -> list[int]:
        """Return the places of a query's candidates as they are served by scores: model numbers stand in front."""
        places = reranked_order(scores, len(self.product_ids[query]))
        if parts := self.parts.get(query):
            places = places[np.argsort(-np.array([tier(part) for part in parts])[places], kind="stable")]
        found: list[int] = places.tolist()
        return found

    def labels(self) -> dict[str, dict[str, int]]:
        """Return the labels of the judged candidates of each query that has a relevant one among them."""
        known: dict[str, dict[str, int]] = {}
        judged = zip(self.pairs.queries, self.pairs.product_ids, self.pairs.labels.tolist(), strict=True)
        for query, product, label in judged:
            known.setdefault(normalized_query(query), {})[product] = int(label)
        found = {}
        for query, products in self.product_ids.items():
            own = known.get(normalized_query(query), {})
            labels = {each: own.get(each, 0) for each in products if each in own or self.every_positive_known}
            if any(labels.values()):
                found[query] = labels
        return found

    def best(self, logits: Logits) -> list[list[str]]:
        """Return the ten best products of each query, as logits put them."""
        return [
            [ids[place] for place in self.order(query, logits[query])[:K]] for query, ids in self.product_ids.items()
        ]

    def judged_cosines(self) -> Candidates:
        """Return the judged candidates with their cosines."""
        hits = {query: list(zip(ids, self.cosines[query], strict=True)) for query, ids in self.product_ids.items()}
        return judged_candidates(self.pairs, hits, every_positive_known=self.every_positive_known)

    def judged_logits(self, logits: Logits) -> Candidates:
        """Return the judged candidates with their logits."""
        hits = {
            query: list(zip(self.product_ids[query], each.tolist(), strict=False)) for query, each in logits.items()
        }
        return judged_candidates(self.pairs, hits, every_positive_known=self.every_positive_known)

    def _judged(self) -> list[tuple[str, str]]:
        return list(zip(self.pairs.queries, self.pairs.product_ids, strict=True))


@dataclass(frozen=True, eq=False)
class PairReference:
    """What float32 says of the candidates of validation queries.

    Attributes:
        found: They.
        tokenizer: With the text contract.
        logits: By query.
        weight: Of a logit beside the first stage's score, as it will be served.
        reranked: Candidates of a query that are scored.
    """

    found: FoundProducts
    tokenizer: TextTokenizer
    logits: Logits
    weight: float
    reranked: int

    def judged(self, scorer: PairScorer, overlap_target: float) -> tuple[bool, str]:
        """Return whether a scorer ranks as float32 does, and that in words."""
        found = self.found
        lower = found.logits(scorer, self.tokenizer, self.reranked)
        ours, theirs = found.mixed(lower, self.weight), found.mixed(self.logits, self.weight)
        both = zip(found.best(ours), found.best(theirs), strict=True)
        overlap = float(np.mean([len(set(one) & set(other)) / max(len(other), 1) for one, other in both]))
        change = change_of(found.ndcg(ours), found.ndcg(theirs))
        finite = all(np.isfinite(each).all() for each in lower.values())
        kept = finite and overlap >= overlap_target and change.high >= 0
        return kept, (
            f"{'' if kept else 'not shipped: '}overlap@10 with float32 {overlap:.4f}, NDCG@10 {change.value:+.4f} "
            f"[{change.low:+.4f}, {change.high:+.4f}]"
        )


def change_of(new: Mapping[str, float], old: Mapping[str, float]) -> Interval:
    """Return how mean NDCG@10 changes, with its interval over queries.

    Raises:
        DataError: If there is no query.
    """
    if not old:
        raise DataError("rerankers are judged by queries with a relevant product, got none")
    return mean_change(dict(new), dict(old))

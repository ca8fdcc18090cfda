"""Judges what will be served: vectors and words in one order, parameters and weight chosen on validation pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.index.exact_search import exact_search
from trident.lexical.analyzer import Analyzer
from trident.lexical.index import LexicalConfig, LexicalIndex, tokenize
from trident.quality.ranking_choice import AskedLegs, Judgements, choose_bm25, choose_weight
from trident.ranking.fusion import scaled
from trident.ranking.legs import Nearest, RankedQuery
from trident.ranking.settings import DEPTH as LEG_DEPTH
from trident_train.judge.evaluate import DEPTH, Found, Ranking, rank_bm25, rank_encoder

if TYPE_CHECKING:  # figures are read without PyTorch
    from trident_train.model.encoder import Encoder

MEANT = 0.5  # weight of words in judged lists where ranks order the catalogue


@dataclass(frozen=True, eq=False)
class HybridData:
    """What a hybrid ranking is chosen and judged by: validation and test pairs, and the catalogue that is searched."""

    validation: Pairs
    test: Pairs
    catalogue: Catalogue


class ExactLegs:
    """Vectors that are compared with every product, and BM25."""

    def __init__(self, products: NDArray[np.float32], lexical: LexicalIndex) -> None:
        """Keep both."""
        self._products = products
        self.sums = lexical.sums

    def nearest(self, query: RankedQuery, k: int) -> Nearest:
        """Return the k products nearest to a query."""
        found = exact_search(self._products, query.vector, min(k, len(self._products)))
        return Nearest(found.rows[0], found.scores[0], "all")

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of rows."""
        return self._products[rows]


def tuned_bm25(validation: Pairs, catalogue: Catalogue, config: LexicalConfig | None = None) -> LexicalConfig:
    """Return BM25's parameters as an export would tune them."""
    config = config or LexicalConfig()
    tokenized = tokenize(catalogue.titles, {}, Analyzer(config.analyzer))
    return choose_bm25(tokenized, config, Judgements.of(validation, catalogue))[0]


@dataclass(frozen=True)
class ServedRankings:
    """What an export would serve: an encoder's vectors alone, and with words beside them."""

    dense: Ranking
    hybrid: Ranking


def rank_served(
    encoder: Encoder, data: HybridData, config: LexicalConfig, *, progress: Callable[[int], None] | None = None
) -> ServedRankings:
    """Return both rankings of an encoder; the catalogue is embedded once.

    Args:
        encoder: Of the vectors.
        data: What is judged, and what the weight is chosen by.
        config: Of BM25.
        progress: Called with the number of texts embedded.
    """
    products = encoder.embed(data.catalogue.titles, "product", progress=progress)  # (N, D)
    dense = rank_encoder(encoder, data.test, data.catalogue, products=products, progress=progress)
    return ServedRankings(dense, rank_hybrid(encoder, data, config, products, dense))


def rank_hybrid(
    encoder: Encoder, data: HybridData, config: LexicalConfig, products: NDArray[np.float32], dense: Ranking
) -> Ranking:
    """Return the order of vectors and words together.

    Over judged lists, which no legs search, cosines and BM25 of a query's own pairs are brought to 0 to 1.

    Args:
        encoder: Of the vectors.
        data: What is judged, and what the weight is chosen by.
        config: Of BM25.
        products: (N, D) embeddings of the catalogue.
        dense: The encoder's own ranking of the test pairs.
    """
    lexical = LexicalIndex.build(data.catalogue.titles, config)
    legs = ExactLegs(products, lexical)
    judged = Judgements.of(data.validation, data.catalogue)
    weight = choose_weight(_ask(encoder, judged.queries, lexical, legs), judged).weight
    asked = _ask(encoder, list(dict.fromkeys(data.test.queries)), lexical, legs)
    found: Found = {
        query: [(data.catalogue.product_ids[row], -float(place)) for place, row in enumerate(rows[:DEPTH].tolist())]
        for query, rows in asked.order(weight).items()
    }
    words = rank_bm25(data.test, None, config).scores
    return Ranking(_judged_scores(data.test, dense.scores, words, MEANT if weight is None else weight), found)


def _ask(encoder: Encoder, queries: Sequence[str], lexical: LexicalIndex, legs: ExactLegs) -> AskedLegs:
    if not queries:
        return AskedLegs([], [], [])
    return AskedLegs.ask(queries, encoder.embed(list(queries), "query"), lexical, legs, LEG_DEPTH)


def _judged_scores(
    pairs: Pairs, cosines: NDArray[np.float32], words: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    queries = np.array(pairs.queries, dtype=object)
    scores = np.zeros(len(pairs), dtype=np.float32)
    for query in dict.fromkeys(pairs.queries):
        own = np.flatnonzero(queries == query)
        dense = np.maximum(cosines[own], 0)
        scores[own] = np.float32(1 - weight) * dense + np.float32(weight) * scaled(words[own], 0.0)
    return scores

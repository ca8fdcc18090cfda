"""What a reranker is given: the candidates of the first stage, as a generation serves them or as a model finds them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident.generation.generation import Generation
from trident.index.exact_search import exact_search
from trident.quality.generation_scores import LoadedGeneration
from trident.ranking.mixing import first_scores, tier
from trident.retrieval.options import RankingKnobs
from trident.retrieval.requests import SearchKnobs
from trident.search.second_stage import EXPLAIN
from trident_train.data.splits import SplitPairs
from trident_train.model.encoder import Encoder
from trident_train.model.negatives import MOST_MINED, judged_queries, thinned_out
from trident_train.recipe import NegativesRecipe, TrainRecipe

ASKED_AT_ONCE = 256  # queries

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A product that the first stage found for a query, and the score that its order was decided by.

    ``tier`` is what model numbers of the query are worth in it: who has more stands in front, whatever the scores say.
    """

    product_id: str
    title: str
    score: float
    tier: int = 0


Candidates = dict[str, list[Candidate]]  # by query, best first


class FirstStage(Protocol):
    """What finds candidates."""

    def candidates(self, queries: Sequence[str], depth: int) -> Candidates:
        """Return the best products of each query."""

    def pair_scores(self, pairs: Pairs) -> NDArray[np.float32]:
        """Return the score (P,) of each pair."""


class ServedStage:
    """A generation, whose answers are those that a server gives.

    Args:
        folder: Of the generation.
        threads: Of its encoder.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load the generation."""
        self.generation = Generation.load(folder)
        self._loaded = LoadedGeneration.load(self.generation, threads=threads)

    def candidates(self, queries: Sequence[str], depth: int) -> Candidates:
        """Return the best products of each query, without a second stage."""
        found: Candidates = {}
        has_words = self._loaded.searcher.retriever.words is not None
        knobs = SearchKnobs(k=depth, rerank=0, ranking=RankingKnobs(explain=has_words))
        for start in range(0, len(queries), ASKED_AT_ONCE):
            part = queries[start : start + ASKED_AT_ONCE]
            hits = self._loaded.searcher.search(part, [knobs] * len(part))
            for row, query in enumerate(part):
                count = int(hits.counts[row, 0])
                parts = json.loads(hits.details[row, 0]).get(EXPLAIN, [])
                scores = first_scores(hits.scores[row, :count], parts).tolist()
                tiers = [tier(part) for part in parts] or [0] * count
                columns = (hits.product_ids[row, :count], hits.titles[row, :count], scores, tiers)
                found[query] = [
                    Candidate(product.decode(), title.decode(), *numbers)
                    for product, title, *numbers in zip(*columns, strict=True)
                ]
        return found

    def pair_scores(self, pairs: Pairs) -> NDArray[np.float32]:
        """Return the cosine (P,) of each pair as it is served."""
        return self._loaded.pair_scores(pairs)

    def held_out(self) -> set[str]:
        """Return the normalised queries that its encoder was not trained on."""
        return {normalized_query(query) for query in self._loaded.test_pairs().queries}


class PretrainedStage:
    """The pretrained encoder over a catalogue, every product compared.

    Args:
        encoder: Embeds queries and titles.
        catalogue: N products.
    """

    def __init__(self, encoder: Encoder, catalogue: Catalogue) -> None:
        """Embed the catalogue."""
        self._encoder, self._catalogue = encoder, catalogue
        self._vectors = encoder.embed(catalogue.titles, "product")  # (N, D)

    def candidates(self, queries: Sequence[str], depth: int) -> Candidates:
        """Return the best products of each query."""
        vectors = self._encoder.embed(queries, "query")  # (Q, D)
        found = exact_search(self._vectors, vectors, min(depth, len(self._catalogue)))
        ids, titles = self._catalogue.product_ids, self._catalogue.titles
        return {
            query: [
                Candidate(ids[row], titles[row], score)
                for row, score in zip(found.rows[number].tolist(), found.scores[number].tolist(), strict=True)
            ]
            for number, query in enumerate(queries)
        }

    def pair_scores(self, pairs: Pairs) -> NDArray[np.float32]:
        """Return the cosine (P,) of each pair."""
        queries, titles = self._encoder.embed(pairs.queries, "query"), self._encoder.embed(pairs.titles, "product")
        scores: NDArray[np.float32] = np.einsum("pd,pd->p", queries, titles)
        return scores


def first_stage(recipe: TrainRecipe, encoder: Encoder, catalogue: Catalogue, parts: SplitPairs) -> FirstStage:
    """Return the first stage of a recipe's source.

    A generation keeps the queries that tested its run, not those that it was trained on: whether the queries that
    choose an epoch are among the latter cannot be seen, and a line says so.

    Args:
        recipe: Says which generation serves; none: the pretrained encoder.
        encoder: That one.
        catalogue: Of the source, which the pretrained encoder searches.
        parts: Its splits.

    Raises:
        DataError: If the generation was trained on queries that this recipe tests by.
    """
    folder = recipe.reranker.first_stage
    if folder is None:
        return PretrainedStage(encoder, catalogue)
    stage = ServedStage(folder)
    tested, held_out = {normalized_query(query) for query in parts.test.queries}, stage.held_out()
    trained = sorted(tested - held_out)
    if trained:
        raise DataError(
            f"the first stage must hold out the queries that its reranker is judged by, got {len(trained)} that "
            f"{folder} does not, such as '{trained[0]}': train both on the same data, shares and split_seed"
        )
    unknown = {normalized_query(query) for query in parts.validation.queries} - held_out
    if unknown and tested != held_out:
        logger.warning(
            "the first stage %s was tested by other queries than these (%d, here %d), so that its run was split "
            "otherwise, or had more data: it may have been trained on %d queries of this validation split, which "
            "chooses the epoch; train both on the same data, shares and split_seed",
            folder,
            len(held_out),
            len(tested),
            len(unknown),
        )
    elif unknown:
        logger.info(
            "the first stage %s was tested by the same queries; which queries validated its run it does not say: "
            "data.validation_share must be that of its run, or less, else it was trained on some of this one's",
            folder,
        )
    return stage


def mine(
    stage: FirstStage,
    pairs: Pairs,
    recipe: NegativesRecipe,
    *,
    every_positive_known: bool,
    most: int = MOST_MINED,
) -> list[tuple[int, str]]:
    """Return (row of the query's first relevant pair, title) for candidates of each query with a relevant product.

    Args:
        stage: Whose candidates are taken; judged ones, by id or title, are left out.
        pairs: The train split.
        recipe: From which rank to which; where every positive is known, from the first on.
        every_positive_known: Whether what nobody judged is irrelevant.
        most: Candidates of all queries together, as ``NegativeMiner.mine``.
    """
    judged = judged_queries(pairs)
    found = stage.candidates([pairs.queries[row] for row in judged], recipe.to_rank)
    start = 0 if every_positive_known else recipe.from_rank - 1
    mined = []
    for row, own in judged.items():
        near = [(candidate.product_id, candidate.title) for candidate in found[pairs.queries[row]]]
        mined.append((row, list(dict.fromkeys(own.unjudged(near, start)))))
    return thinned_out(mined, len(judged), most)

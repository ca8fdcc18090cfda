"""Two generations asked the same queries, without a server: how alike their answers are, and which differ most."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.meeting import meet
from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident.generation.generation import Generation
from trident.quality.latency import Latency, latency_in_turns
from trident.quality.metrics import Interval, catalogue_ndcg_by_query
from trident.quality.paired import mean_change
from trident.quality.rank_overlap import overlap, rank_biased_overlap
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher

K = 10
BATCH = 64  # queries asked at once


@dataclass(frozen=True, kw_only=True)
class ComparedSide:
    """One of the generations; scores are cosines, ``ndcg_at_10`` is None where nothing is judged."""

    id: str
    serial: int
    products: int
    latency: Latency
    best_score: float  # of the first product, mean over queries
    mean_score: float  # of the ten first, mean over queries
    ndcg_at_10: float | None


@dataclass(frozen=True, kw_only=True)
class ShownProduct:
    """A product at its place, from 1; ``other_place`` is None where the other generation does not show it."""

    place: int
    product_id: str
    title: str
    score: float
    other_place: int | None
    relevant: bool | None  # None: nobody judged it


@dataclass(frozen=True, kw_only=True)
class ComparedQuery:
    """A query with what both generations show for it."""

    query: str
    overlap_at_10: float
    rbo: float
    old: tuple[ShownProduct, ...]
    new: tuple[ShownProduct, ...]


@dataclass(frozen=True, kw_only=True)
class ServingComparison:
    """How the answers changed; intervals are of new minus old, paired over queries."""

    old: ComparedSide
    new: ComparedSide
    queries: int
    same: int  # queries with the same products in the same order
    overlap_at_10: float  # mean over queries
    rbo: float  # mean over queries
    best_score: Interval
    mean_score: Interval
    ndcg_at_10: Interval | None
    changed: tuple[ComparedQuery, ...]  # the most changed first, SHOWN at most


SHOWN = 20  # changed queries, at most
Found = tuple[str, str, float]  # product id, title, score
Labels = dict[str, dict[str, bool]]  # of the judged products of each normalised query


def compare_generations(
    old: Generation, new: Generation, queries: Sequence[str], *, pairs: Pairs | None = None, threads: int
) -> ServingComparison:
    """Return how the answers of two generations to the same queries differ.

    Args:
        old: A generation whose files are all there.
        new: Another.
        queries: Asked once each, however often they stand there.
        pairs: Judgements of the queries; a product without one counts as irrelevant. None: nothing is judged.
        threads: Of the encoders, where many queries are asked at once.

    Raises:
        DataError: If there is no query, or pairs are given of which none is relevant.
        TridentError: If a part of a generation is missing, damaged or of another encoder.
    """
    asked = list({normalized_query(query): query for query in queries}.values())
    if not asked:
        raise DataError("a comparison needs at least one query, got none")
    searchers = {side: Searcher.load(generation, threads=threads) for side, generation in (("old", old), ("new", new))}
    answers = {side: _ask(searcher, asked) for side, searcher in searchers.items()}
    latency = latency_in_turns(searchers, asked)
    gains = {side: None if pairs is None else _gains(pairs, asked, answers[side]) for side in searchers}
    labels = _labels(pairs)
    compared = [
        _compare(query, was, now, labels) for query, was, now in zip(asked, answers["old"], answers["new"], strict=True)
    ]
    changed = [each for each in compared if _ids(each.old) != _ids(each.new)]
    changed.sort(key=lambda each: (each.rbo, each.overlap_at_10, each.query))
    return ServingComparison(
        old=_side(old, searchers["old"], latency["old"], answers["old"], gains["old"]),
        new=_side(new, searchers["new"], latency["new"], answers["new"], gains["new"]),
        queries=len(asked),
        same=len(compared) - len(changed),
        overlap_at_10=float(np.mean([each.overlap_at_10 for each in compared])),
        rbo=float(np.mean([each.rbo for each in compared])),
        best_score=_score_change(asked, answers["new"], answers["old"], depth=1),
        mean_score=_score_change(asked, answers["new"], answers["old"], depth=K),
        ndcg_at_10=_gain_change(gains["new"], gains["old"]),
        changed=tuple(changed[:SHOWN]),
    )


def products_missing(pairs: Pairs, generation: Generation, path: Path) -> str:
    """Return in a line how many relevant products of pairs a generation's catalogue lacks; empty if none.

    Raises:
        DataError: If it lacks all of them, or has some in another spelling: NDCG would say nothing.
    """
    catalogue = Catalogue.load(generation.version_folder("retriever") / CATALOGUE_FILE)
    meeting = meet(itertools.compress(pairs.product_ids, pairs.labels.tolist()), catalogue)
    where = f"of generation {generation.id}"
    if meeting.products:
        meeting.require(path, where, "mend the ids, or compare by --queries alone")
    return meeting.text(path, where)


def _ask(searcher: Searcher, queries: Sequence[str]) -> list[list[Found]]:
    found: list[list[Found]] = []
    for start in range(0, len(queries), BATCH):
        batch = queries[start : start + BATCH]
        hits = searcher.search(batch, [SearchKnobs(k=K)] * len(batch))
        for row, count in enumerate(hits.counts[:, 0].tolist()):
            columns = (hits.product_ids[row, :count], hits.titles[row, :count], hits.scores[row, :count])
            products = zip(*(column.tolist() for column in columns), strict=True)
            found.append([(product.decode(), title.decode(), score) for product, title, score in products])
    return found


def _compare(query: str, old: list[Found], new: list[Found], labels: Labels) -> ComparedQuery:
    judged = labels.get(normalized_query(query), {})
    one, other = [product for product, _, _ in old], [product for product, _, _ in new]
    return ComparedQuery(
        query=query,
        overlap_at_10=overlap(one, other),
        rbo=rank_biased_overlap(one, other),
        old=_shown(old, other, judged),
        new=_shown(new, one, judged),
    )


def _shown(found: list[Found], other: list[str], judged: dict[str, bool]) -> tuple[ShownProduct, ...]:
    places = {product: place for place, product in enumerate(other, start=1)}
    return tuple(
        ShownProduct(
            place=place,
            product_id=product,
            title=title,
            score=score,
            other_place=places.get(product),
            relevant=judged.get(product),
        )
        for place, (product, title, score) in enumerate(found, start=1)
    )


def _side(
    generation: Generation,
    searcher: Searcher,
    latency: Latency,
    answers: list[list[Found]],
    gains: dict[str, float] | None,
) -> ComparedSide:
    return ComparedSide(
        id=generation.id,
        serial=generation.serial,
        products=searcher.retriever.index.count,
        latency=latency,
        best_score=_mean([_mean_score(answer, 1) for answer in answers]),
        mean_score=_mean([_mean_score(answer, K) for answer in answers]),
        ndcg_at_10=None if gains is None else _mean(list(gains.values())),
    )


def _gains(pairs: Pairs, queries: Sequence[str], answers: list[list[Found]]) -> dict[str, float]:
    found = {
        query: [(product, -float(place)) for place, (product, *_) in enumerate(answer)]  # a reranker's order counts
        for query, answer in zip(queries, answers, strict=True)
    }
    return catalogue_ndcg_by_query(pairs, found)


def _gain_change(new: dict[str, float] | None, old: dict[str, float] | None) -> Interval | None:
    return None if new is None or old is None else mean_change(new, old)


def _score_change(queries: Sequence[str], new: list[list[Found]], old: list[list[Found]], *, depth: int) -> Interval:
    after, before = (
        {query: _mean_score(answer, depth) for query, answer in zip(queries, answers, strict=True)}
        for answers in (new, old)
    )
    return mean_change(after, before)


def _mean_score(answer: list[Found], depth: int) -> float:
    return _mean([score for _, _, score in answer[:depth]])


def _labels(pairs: Pairs | None) -> Labels:
    labels: Labels = {}
    if pairs is not None:
        for query, product, label in zip(pairs.queries, pairs.product_ids, pairs.labels.tolist(), strict=True):
            labels.setdefault(normalized_query(query), {})[product] = bool(label)
    return labels


def _ids(products: Sequence[ShownProduct]) -> list[str]:
    return [product.product_id for product in products]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))

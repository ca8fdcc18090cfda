"""Embeddings to products: the index and the catalogue of one generation, as the served retriever uses them."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.errors import DataError, GenerationError
from trident.generation.generation import Identity
from trident.generation.own_index import check_encoder
from trident.index.exact_search import check_unit_rows
from trident.index.index import VectorIndex
from trident.ranking.calibration import DECIMALS, DENSE, Calibration
from trident.ranking.legs import Plan
from trident.retrieval.fused import FusedSearch
from trident.retrieval.options import LIKE, MIN_PROBABILITY, RERANK, refuse_words
from trident.retrieval.pages import PageAnswer, PageQuery
from trident.retrieval.products import GenerationProducts, Products
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.tensors import COUNT, DETAILS, EMPTY_SCORE, PRODUCT_ID, SCORE, TITLE
from trident.retrieval.words import Words
from trident.stage_times import stage

NOTHING_TO_SAY = b"{}"  # of an answer, in its details
PROBABILITY = "probability"  # in details: of each product


@dataclass(frozen=True)
class Hits:
    """Products of B queries, best first, as the server answers them.

    ``product_ids`` and ``titles`` are (B, k) object arrays of bytes, ``scores`` is (B, k) float32 cosine, ``counts``
    (B, 1) int32, ``details`` (B, 1) object array of bytes, one JSON object each; where a row has fewer than k products,
    the rest is ``b""`` and ``EMPTY_SCORE``. ``ways`` are B of ``trident.retrieval.products.WAYS``; no tensor. ``weak``
    are the rows whose answer is weak.
    """

    product_ids: NDArray[np.object_]
    scores: NDArray[np.float32]
    titles: NDArray[np.object_]
    counts: NDArray[np.int32]
    details: NDArray[np.object_]
    ways: tuple[str, ...]
    weak: frozenset[int] = frozenset()

    def rows(self, start: int, stop: int, width: int) -> Hits:
        """Return some of the rows, cut to a width."""
        return Hits(
            np.ascontiguousarray(self.product_ids[start:stop, :width]),
            np.ascontiguousarray(self.scores[start:stop, :width]),
            np.ascontiguousarray(self.titles[start:stop, :width]),
            self.counts[start:stop],
            self.details[start:stop],
            self.ways[start:stop],
            frozenset(row - start for row in self.weak if start <= row < stop),
        )

    def with_detail(self, name: str, values: Sequence[Any]) -> Hits:
        """Return the hits with one more fact about each row in its details; None: there is none."""
        details = self.details.copy()
        for row, value in enumerate(values):
            if value is not None:
                text = json.dumps({name: value}, separators=(",", ":"), ensure_ascii=False).encode()
                told = details[row, 0]
                details[row, 0] = text if told == NOTHING_TO_SAY else told[:-1] + b"," + text[1:]
        return replace(self, details=details)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the output tensors of ``search``, without the generation, by name."""
        found = {PRODUCT_ID: self.product_ids, SCORE: self.scores, TITLE: self.titles, COUNT: self.counts}
        return {**found, DETAILS: self.details}


class Retriever:
    """The index over a catalogue; rows of one are rows of the other.

    Args:
        index: Over N products.
        catalogue: The same N products.
        identity: The generation that both belong to.
        attributes: Of the same N products; None: they have none.
        words: Of the same N products; None: they are found by vectors alone.
        calibration: Of the generation; None: it has none.
    """

    is_local = True  # whether the products are searched here, so that all of them can be compared

    def __init__(
        self,
        index: VectorIndex,
        catalogue: Catalogue,
        identity: Identity,
        attributes: Attributes | None = None,
        words: Words | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Keep the parts; see the class for the arguments."""
        if index.count != len(catalogue):
            raise GenerationError(
                f"index and catalogue of generation {identity.id} must have the same number of products, got "
                f"{index.count:,} and {len(catalogue):,}: export again"
            )
        self.index = index
        self.identity = identity
        self.calibration = calibration or Calibration()
        self.attributes = Attributes.none(len(catalogue)) if attributes is None else attributes
        self.attributes.require_count(len(catalogue), f"generation {identity.id}")
        self.product_ids, self.titles = catalogue.texts  # mapped: rows are read as they are found
        self.words: Words | None = None if words is None else self.with_words(words).words

    @classmethod
    def load(cls, folder: Path, *, flat_threads: int = 1) -> Retriever:
        """Return the retriever of a version folder.

        Args:
            folder: Holds identity, index and catalogue.
            flat_threads: Of the flat search, where the index has one.

        Raises:
            VectorIndexError: If an index is damaged, or was made by another encoder than the generation's, of another
                catalogue or by another analyzer.
            GenerationError: If identity, catalogue, attributes or calibration are missing, or do not fit each other.
        """
        identity = Identity.load(folder)
        check_encoder(folder, identity)
        index = VectorIndex.load(folder, encoder_fingerprint=identity.encoder_fingerprint, flat_threads=flat_threads)
        catalogue = Catalogue.load(folder / CATALOGUE_FILE)
        calibration = Calibration.load(folder, sha256=identity.calibration)
        return cls(index, catalogue, identity, Attributes.load(folder), Words.load(folder), calibration)

    def with_words(self, words: Words) -> Retriever:
        """Return the same retriever with words of the same products.

        Raises:
            GenerationError: If they are of another number of products.
        """
        if words.lexical.count != len(self.titles):
            raise GenerationError(
                f"lexical index and catalogue of generation {self.identity.id} must have the same number of products, "
                f"got {words.lexical.count:,} and {len(self.titles):,}: export again"
            )
        found = copy.copy(self)  # of the same catalogue
        found.words = words
        return found

    @property
    def dimension(self) -> int:
        """D of the embeddings."""
        return self.index.dimension

    def for_lone(self, threads: int) -> Retriever:
        """Return the same retriever, whose flat search, where it has one, runs on other threads."""
        lone = copy.copy(self)  # of the same catalogue
        lone.index = self.index.for_lone(threads)
        return lone

    def close(self) -> None:
        """Let go of what is followed; this one follows nothing."""

    def products(self) -> Products:
        """Return what is searched now."""
        name = f"generation {self.identity.id}"
        lexical = None if self.words is None else self.words.lexical
        return GenerationProducts(
            self.index, self.attributes, self.product_ids, self.titles, name=name, lexical=lexical
        )

    def spelled(self, knobs: Sequence[SearchKnobs], *, of_base: bool = False) -> list[SearchKnobs]:  # noqa: ARG002
        """Return knobs that say what their texts mean, where words of them are corrected.

        Args:
            knobs: Of queries.
            of_base: Whether they are asked of the generation alone; this one has nothing else.
        """
        return list(knobs) if self.words is None else [self.words.spelled(knob) for knob in knobs]

    def text_for_vectors(self, knob: SearchKnobs) -> str:
        """Return the text whose vector is searched."""
        return knob.text if self.words is None else self.words.text_for("dense", knob)

    def check_pages(self, knobs: Sequence[SearchKnobs]) -> None:
        """Raise where a ranking is asked for that is not answered; every page is.

        Raises:
            DataError: Naming the key.
        """
        if self.words is None:
            for knob in knobs:
                refuse_words(knob.ranking, f"is not answered by generation {self.identity.id}, which has no words")

    def check_probabilities(self, knobs: Sequence[SearchKnobs]) -> None:
        """Raise where probabilities are asked for, and the generation knows none.

        Raises:
            DataError: Naming the key.
        """
        if self.calibration.of(DENSE) is None and any(knob.min_probability is not None for knob in knobs):
            raise DataError(
                f"{MIN_PROBABILITY} needs a calibration, and generation {self.identity.id} has none: export a run that "
                "has more validation queries, or ask by min_score"
            )

    def check(self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs]) -> None:
        """Raise what ``retrieve`` would raise for embeddings, so that a bad request is found before it joins others.

        Whoever calls it sees embeddings and no texts, so that nobody can search by a product there.

        Raises:
            VectorIndexError: If the embeddings have another width or are not of unit length.
            DataError: If a product stands instead of a query, words are to rank, a page lies too deep, or there are no
                probabilities.
        """
        self.check_probabilities(knobs)
        for knob in knobs:
            if knob.rerank:
                raise DataError(f"{RERANK} is answered by the variant cpu alone: this one searches embeddings")
        check_unit_rows(embeddings, name="embeddings", dimension=self.dimension)
        for knob in knobs:
            refuse_words(knob.ranking, "is answered by the variant cpu alone: this one searches embeddings")
            if knob.page is not None:
                if knob.page.like is not None:
                    raise DataError(f"{LIKE} is answered by the variant cpu alone: this one searches embeddings")
                knob.page.check_depth(knob.k)

    def retrieve(
        self,
        embeddings: NDArray[np.float32],
        knobs: Sequence[SearchKnobs],
        *,
        threads: int = 1,
        of_base: Sequence[bool] | None = None,  # noqa: ARG002 - this one has nothing else
    ) -> Hits:
        """Return the products nearest to B embeddings, each by its own knobs; as wide as the largest k.

        Args:
            embeddings: (B, D) float32, unit length; that of a page without a query is not looked at.
            knobs: One a row.
            threads: Of the search in the graph.
            of_base: Whether a row is asked of the generation alone, without what came since.

        Raises:
            VectorIndexError: If the embeddings have another width or are not of unit length.
            DataError: If a product that others shall be like is not there, or there are no probabilities.
        """
        return self.told(self._retrieved(embeddings, self.with_floors(knobs), threads))

    def with_floors(self, knobs: Sequence[SearchKnobs]) -> list[SearchKnobs]:
        """Return knobs whose smallest probability is a smallest score: the map between them is monotone.

        Raises:
            DataError: If there are no probabilities.
        """
        self.check_probabilities(knobs)
        return [self._with_floor(knob) for knob in knobs]

    def _with_floor(self, knob: SearchKnobs) -> SearchKnobs:
        cosines = self.calibration.of(DENSE)
        if knob.min_probability is None or cosines is None or (knob.page is not None and knob.page.browses):
            return knob
        floor = cosines.score_at(knob.min_probability)
        return replace(knob, min_score=floor if knob.min_score is None else max(floor, knob.min_score))

    def told(self, hits: Hits) -> Hits:
        """Return hits whose details have the probability of each product, where the generation knows it."""
        cosines = self.calibration.of(DENSE)
        if cosines is None:
            return hits
        chances = cosines.probability(hits.scores).round(DECIMALS).tolist()  # (B, k)
        counts = hits.counts[:, 0].tolist()
        rows = zip(chances, counts, hits.ways, strict=True)
        return hits.with_detail(PROBABILITY, [None if way == "browse" else row[:count] for row, count, way in rows])

    def _retrieved(self, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], threads: int) -> Hits:
        return self._searched(FusedSearch(self.products(), self.words), embeddings, knobs, threads)

    def _searched(
        self, search: FusedSearch, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], threads: int
    ) -> Hits:
        products, words = search.products, self.words
        plans = [search.plan(knob) for knob in knobs]
        plain = [row for row, knob in enumerate(knobs) if knob.page is None and plans[row] is None]
        if len(plain) == len(knobs):
            return noted(_nearest(products, embeddings, knobs, threads), knobs, words)
        answers = search.fused(embeddings, knobs, plans, threads=threads)
        for row, knob in enumerate(knobs):
            if knob.page is not None:
                answers[row] = _page(search, embeddings[row : row + 1], knob, plans[row], threads)
        nearest = _nearest(products, embeddings[plain], [knobs[row] for row in plain], threads) if plain else None
        hits = _together(products, nearest, plain, answers, max(knob.k for knob in knobs))
        return noted(hits, knobs, words)


def _page(
    search: FusedSearch, embedding: NDArray[np.float32], knobs: SearchKnobs, plan: Plan | None, threads: int
) -> PageAnswer:
    products = search.products
    assert knobs.page is not None
    own_row = -1
    if knobs.page.like is not None:
        row = products.row(knobs.page.like)
        if row is None:
            raise DataError(f"{LIKE} must be the id of a product of {products.name}, got '{knobs.page.like[:60]}'")
        own_row, embedding = row, products.vectors(np.array([row]))
    query = PageQuery(embedding, knobs, knobs.page, own_row, plan)
    return search.pages.answer(query, threads=threads)


def _together(
    products: Products, nearest: Hits | None, plain: list[int], answers: dict[int, PageAnswer], width: int
) -> Hits:
    """Return the answers to B queries in their order: those without a page, and the others."""
    count = len(plain) + len(answers)
    rows = np.full((count, width), -1, dtype=np.int64)
    scores = np.full((count, width), EMPTY_SCORE, dtype=np.float32)
    ways, details = [""] * count, np.full((count, 1), NOTHING_TO_SAY, dtype=np.object_)
    for row, answer in answers.items():
        found = len(answer.rows)
        rows[row, :found], scores[row, :found], ways[row] = answer.rows, answer.scores, answer.way
        details[row, 0] = _said(products, answer.details)
    counts = (rows >= 0).sum(axis=1, keepdims=True).astype(np.int32)
    product_ids, titles = products.texts(rows)
    if nearest is not None:
        own = nearest.scores.shape[1]
        product_ids[plain, :own], titles[plain, :own] = nearest.product_ids, nearest.titles
        scores[plain, :own], counts[plain], details[plain] = nearest.scores, nearest.counts, nearest.details
        for row, way in zip(plain, nearest.ways, strict=True):
            ways[row] = way
    return Hits(product_ids, scores, titles, counts, details, tuple(ways))


def _nearest(products: Products, embeddings: NDArray[np.float32], knobs: Sequence[SearchKnobs], threads: int) -> Hits:
    with stage("dense"):
        found, ways = products.nearest_each(
            embeddings, [knob.k for knob in knobs], [knob.ef for knob in knobs], threads=threads
        )
    rows, scores, (ids, titles) = found.rows, found.scores, products.texts(found.rows)
    if any(knob.min_score is not None for knob in knobs):
        lowest = np.array(
            [EMPTY_SCORE if knob.min_score is None else knob.min_score for knob in knobs], dtype=np.float32
        )
        rows = np.where(scores >= lowest[:, None], rows, -1)  # NaN compares as false
        ids, titles = np.where(rows >= 0, ids, b""), np.where(rows >= 0, titles, b"")
    is_there = rows >= 0  # (B, k)
    counts = is_there.sum(axis=1, keepdims=True).astype(np.int32)
    scores = np.where(is_there, scores, np.float32(EMPTY_SCORE))
    return Hits(ids, scores, titles, counts, np.full(counts.shape, _said(products, {}), dtype=np.object_), ways)


def noted(hits: Hits, knobs: Sequence[SearchKnobs], words: Words | None) -> Hits:
    """Return hits whose details say what was corrected and which answers are weak."""
    if words is None:
        return hits
    lowest, weak = words.settings.weak_below, set()
    for row, knob in enumerate(knobs):
        notes: dict[str, Any] = {} if knob.corrected is None else {"corrected": knob.corrected}
        if lowest is not None and knob.shows_best and hits.scores[row].max(initial=EMPTY_SCORE) < lowest:
            notes["weak"] = True
            weak.add(row)
        if notes:
            more = json.loads(hits.details[row, 0]) | notes
            hits.details[row, 0] = json.dumps(more, separators=(",", ":"), ensure_ascii=False).encode()
    return replace(hits, weak=frozenset(weak)) if weak else hits


def _said(products: Products, details: dict[str, Any]) -> bytes:
    """Return the details of an answer."""
    if products.number is not None:
        details = {"sequence": products.number, **details}
    return json.dumps(details, separators=(",", ":"), ensure_ascii=False).encode() if details else NOTHING_TO_SAY

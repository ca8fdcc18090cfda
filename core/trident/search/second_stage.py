"""The second stage of a batch of searches: which candidates it gets, and what it makes of the first stage's hits."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import DataError
from trident.generation.generation import Identity
from trident.ranking.calibration import DECIMALS, RERANKER, TREES, Calibration, ScoreMap
from trident.ranking.legs import DIGITS
from trident.ranking.mixing import FIRST_SCALE, first_scores, mixed, tier
from trident.ranking.reranking import Reranker, Task, reranked_order
from trident.ranking.trees import Signals, Trees, tree_features
from trident.retrieval.options import MIN_PROBABILITY, RERANK, RERANK_BUDGET, Page
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import PROBABILITY, Hits
from trident.retrieval.tensors import EMPTY_SCORE, K_MAX

EXPLAIN, ATTRIBUTES = "explain", "attributes"
OF_EACH_HIT = frozenset({ATTRIBUTES, EXPLAIN})  # in details: lists with an item for each product
RULES, PINS = "rules", "pins"  # in details: what merchandisers' rules did
RERANKED = "reranked"  # in details: how many products the second stage scored
APART = 10.0  # in the unit of a cosine: what was scored stands in front of what was not
CACHED_ANSWERS = "TRIDENT_RESPONSE_CACHE"  # a variable of the server's process: answers are cached

Parts = Sequence[dict[str, Any]]  # of the places of a row, where words took part


@dataclass(frozen=True)
class SecondStage:
    """The reranker of a generation, with what it takes where a request does not say.

    Attributes:
        reranker: Scores pairs.
        calibration: Of the generation.
        default: Candidates reranked; 0: none.
        budget_ms: Milliseconds a request; None: all it needs.
        trees: Put what was scored in order; None: logits and the first stage's scores do.
        weight: Of the logit beside the first stage's score, 0 to 1; see ``trident.ranking.mixing``.
    """

    reranker: Reranker
    calibration: Calibration
    default: int = 0
    budget_ms: float | None = None
    trees: Trees | None = None
    weight: float = 1.0

    @classmethod
    def of(
        cls, reranker: Reranker, calibration: Calibration, identity: Identity, trees: Trees | None = None
    ) -> SecondStage:
        """Return the second stage of a generation."""
        return cls(reranker, calibration, identity.rerank, identity.rerank_budget_ms, trees, identity.rerank_weight)

    def for_lone(self, threads: int) -> SecondStage:
        """Return the same for who asks alone and has so many cores."""
        return replace(self, reranker=self.reranker.for_lone(threads))

    @property
    def map(self) -> ScoreMap | None:
        """The map of the scores that decide: of trees where there are any, else of both stages' scores."""
        return self.calibration.of(RERANKER if self.trees is None else TREES)

    @property
    def _attributes(self) -> tuple[str, ...]:
        """Names of the attributes that trees look at."""
        return () if self.trees is None else self.trees.attributes

    def wanted(self, knob: SearchKnobs) -> int:
        """Return how many candidates of a search are reranked; 0 where something else decides the order."""
        count = self.default if knob.rerank is None else knob.rerank
        return 0 if _why_not(knob) else count

    def widened(self, knobs: Sequence[SearchKnobs]) -> list[SearchKnobs]:
        """Return the knobs that the first stage gets: candidates enough, from the front, none left out as unlikely."""
        return [self._widened(knob) if self.wanted(knob) else knob for knob in knobs]

    def _widened(self, knob: SearchKnobs) -> SearchKnobs:
        page = knob.page
        offset = 0 if page is None else page.offset
        whole = None if page is None else replace(page, offset=0)
        if self._attributes:
            shown = Page() if whole is None else whole
            whole = replace(shown, fields=tuple(dict.fromkeys((*shown.fields, *self._attributes))))
        k = max(offset + knob.k, self.wanted(knob))
        if knob.min_probability is not None and self.map is not None:
            k = K_MAX  # how many are left out in front of a page is known when all are
        likely = knob.min_probability if self.map is None else None
        parts = replace(knob.ranking, explain=True)  # which say what stands in front for a model number
        return replace(knob, k=k, page=whole, min_probability=likely, ranking=parts, shows_later=offset > 0)

    def reranked(
        self,
        queries: Sequence[str],
        knobs: Sequence[SearchKnobs],
        hits: Hits,
        *,
        since: float | None = None,
        whole: Sequence[bool] = (),
    ) -> Hits:
        """Return the hits as the second stage has them, as wide as the largest k.

        Args:
            queries: B, as they were asked.
            knobs: As they were asked, one a row.
            hits: Of the first stage, by the widened knobs.
            since: On the reranker's clock, from which budgets count; None: from now.
            whole: Of the rows, whether no budget cuts it, as of a golden query; empty: none of them.

        Raises:
            ModelError: If a pair cannot be scored.
        """
        rows = [row for row, knob in enumerate(knobs) if self.wanted(knob)]
        asked = [knob.corrected or query for query, knob in zip(queries, knobs, strict=True)]
        tasks = [self._task(asked[row], knobs[row], hits, row) for row in rows]
        tasks = [
            replace(task, budget_s=None) if whole and whole[row] else task
            for row, task in zip(rows, tasks, strict=True)
        ]
        logits = dict(zip(rows, self.reranker.score(tasks, since=since), strict=True))
        width = max(knob.k for knob in knobs)
        made = _Rows.empty(len(knobs), width)
        for row, knob in enumerate(knobs):
            places = np.arange(int(hits.counts[row, 0]), dtype=np.intp)
            details = hits.details[row, 0]
            if row in logits:
                places, details = self._places(asked[row], logits[row], knob, hits, row)
            made.fill(row, hits, places[: knob.k], details)
        return Hits(made.product_ids, made.scores, made.titles, made.counts, made.details, hits.ways, hits.weak)

    def decided(self, query: str, hits: Hits, details: Mapping[str, Any]) -> list[float]:
        """Return what put the first row of reranked hits in order, in the unit of a cosine.

        Where trees did, whose steps have no unit, it is places, far enough apart that none may be another's.

        Args:
            query: As its pairs were read.
            hits: Reranked, without a budget.
            details: Of the row, with the parts of each place where words had a part.

        Raises:
            ModelError: If a pair cannot be scored.
        """
        count = int(hits.counts[0, 0])
        if self.trees is not None:
            return [APART * (count - place) for place in range(count)]
        scored, parts = min(count, int(details[RERANKED])), details.get(EXPLAIN, [])
        titles = [title.decode() for title in hits.titles[0, :scored]]
        (logits,) = self.reranker.score([Task(details.get("corrected", query), titles)])
        first = first_scores(hits.scores[0, :count], parts)
        tiers = np.array([tier(part) for part in parts] or [0] * count)
        both = mixed(logits, first[:scored], self.weight) / FIRST_SCALE
        behind = first[scored:] + (both.min(initial=0.0) - APART)  # those that were not scored
        return [round(float(score), DIGITS) for score in np.concatenate([both, behind]) + APART**2 * tiers]

    def _task(self, query: str, knob: SearchKnobs, hits: Hits, row: int) -> Task:
        count = min(int(hits.counts[row, 0]), self.wanted(knob))
        budget_ms = self.budget_ms if knob.rerank_budget_ms is None else knob.rerank_budget_ms
        titles = [title.decode() for title in hits.titles[row, :count]]
        return Task(query, titles, None if budget_ms is None else budget_ms / 1000)

    def _decided(
        self, query: str, logits: NDArray[np.float32], hits: Hits, row: int, told: Mapping[str, Any]
    ) -> _Decided:
        """Return what decides the order of the first products of a row, of which ``told`` is said."""
        count, parts = len(logits), told.get(EXPLAIN, [])
        first = first_scores(hits.scores[row, :count], parts[:count])
        both = mixed(logits, first, self.weight)
        before = reranked_order(both, int(hits.counts[row, 0]))  # equal scores of trees are in this order
        if self.trees is None or not count:
            return _Decided(first, both, both, before)
        order = before[:count]
        titles = [title.decode() for title in hits.titles[row, order]]
        bm25 = [parts[place].get("bm25") if parts else None for place in order.tolist()]
        known = [told[ATTRIBUTES][place] for place in order.tolist()] if self._attributes else []
        signals = Signals(hits.scores[row, order], logits[order], first[order], bm25, known)
        features = tree_features(query, titles, signals, self._attributes)
        scores = np.empty_like(logits)
        scores[order] = self.trees.score(features)
        return _Decided(first, both, scores, before)

    def _places(
        self, query: str, logits: NDArray[np.float32], knob: SearchKnobs, hits: Hits, row: int
    ) -> tuple[NDArray[np.intp], bytes]:
        """Return the places of a row's hits in their new order, cut to its page, and what is said of them."""
        told: dict[str, Any] = json.loads(hits.details[row, 0])
        parts = told.get(EXPLAIN, [])
        decided = self._decided(query, logits, hits, row, told)
        scores, before = decided.scores, decided.before
        places = before[reranked_order(scores[before[: len(logits)]], len(before))]
        if parts:  # a model number of the query comes first, whatever reads the title
            tiers = np.array([tier(part) for part in parts])
            places = places[np.argsort(-tiers[places], kind="stable")]
        if self._attributes:  # those that nobody asked for go
            fields = () if knob.page is None else knob.page.fields
            told[ATTRIBUTES] = [{name: each[name] for name in fields} for each in told[ATTRIBUTES]]
            if not fields:
                told.pop(ATTRIBUTES)
        if not knob.ranking.explain:
            told.pop(EXPLAIN, None)
        elif parts:
            told[EXPLAIN] = decided.explained(parts, logits, self)
        chances = told.pop(PROBABILITY, None)
        if self.map is not None and chances is not None:
            exact = self.map.probability(scores)
            chances[: len(logits)] = exact.round(DECIMALS).tolist()
            if knob.min_probability is not None:
                likely = np.array(chances, dtype=np.float64)
                likely[: len(logits)] = exact
                places = places[likely[places] >= knob.min_probability]
        rules = told.get(RULES, {})
        pinned = rules.get(PINS, 0)  # of the first places: merchandisers' rules keep them
        places = np.concatenate([np.sort(places[places < pinned]), places[places >= pinned]])
        offset = 0 if knob.page is None else knob.page.offset
        places = places[offset : offset + knob.k]
        if pinned:
            rules[PINS] = int((places < pinned).sum())
        for name in OF_EACH_HIT & told.keys():
            told[name] = [told[name][place] for place in places]
        told[RERANKED] = len(logits)
        if chances is not None:
            told[PROBABILITY] = [chances[place] for place in places]
        return places, json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, eq=False)
class _Decided:
    """What decided the order of R products that were scored, (R,) float32 each, and the order without trees."""

    first: NDArray[np.float32]  # the first stage's scores
    mixed: NDArray[np.float32]  # with the logits
    scores: NDArray[np.float32]  # which decide: of trees, or those
    before: NDArray[np.intp]

    def explained(self, parts: Parts, logits: NDArray[np.float32], stage: SecondStage) -> list[dict[str, Any]]:
        """Return the parts of each place with what the second stage said; of what it did not score, null."""
        told = []
        for place, part in enumerate(parts):
            if place >= len(logits):
                told.append({**part, RERANKER: None})
                continue
            own = {
                "logit": round(float(logits[place]), DIGITS),
                "first": round(float(self.first[place]), DIGITS),
                "weight": stage.weight,
                "mixed": round(float(self.mixed[place]), DIGITS),
            }
            if stage.trees is not None:
                own[TREES] = round(float(self.scores[place]), DIGITS)
            told.append({**part, RERANKER: own})
        return told


@dataclass(frozen=True, eq=False)
class _Rows:
    """Hits under way."""

    product_ids: NDArray[np.object_]
    scores: NDArray[np.float32]
    titles: NDArray[np.object_]
    counts: NDArray[np.int32]
    details: NDArray[np.object_]

    @classmethod
    def empty(cls, count: int, width: int) -> _Rows:
        shape = (count, width)
        return cls(
            np.full(shape, b"", dtype=np.object_),
            np.full(shape, EMPTY_SCORE, dtype=np.float32),
            np.full(shape, b"", dtype=np.object_),
            np.zeros((count, 1), dtype=np.int32),
            np.empty((count, 1), dtype=np.object_),
        )

    def fill(self, row: int, hits: Hits, places: NDArray[np.intp], details: bytes) -> None:
        """Take the hits of some places over."""
        found = len(places)
        self.product_ids[row, :found] = hits.product_ids[row, places]
        self.titles[row, :found] = hits.titles[row, places]
        self.scores[row, :found] = hits.scores[row, places]
        self.counts[row, 0], self.details[row, 0] = found, details


def check_rerank(knobs: Sequence[SearchKnobs], stage: SecondStage | None, generation: str) -> None:
    """Raise where a second stage is asked for that there is not, or that could not decide.

    Args:
        knobs: As they were asked.
        stage: Of the generation; None: it has none.
        generation: Its id.

    Raises:
        DataError: Naming the key.
    """
    for knob in knobs:
        if knob.rerank and stage is None:
            raise DataError(
                f"{RERANK} needs a reranker, and generation {generation} has none that serves here: export one with "
                f"trident export --reranker, or ask with {RERANK} 0"
            )
        if knob.rerank and (why := _why_not(knob)):
            raise DataError(f"{RERANK} puts products in the order of a query, and {why}: leave one of them out")
        if os.environ.get(CACHED_ANSWERS) and knob.rerank_budget_ms is not None:
            raise DataError(
                f"{RERANK_BUDGET} and a response cache exclude each other, which would keep a cut answer for good: "
                f"ask without it, or serve without --cache"
            )
        uncalibrated = stage is not None and stage.wanted(knob) and stage.map is None
        if uncalibrated and knob.min_probability is not None:
            raise DataError(
                f"{MIN_PROBABILITY} needs a calibration of the reranker, and generation {generation} has none: ask "
                f"with {RERANK} 0"
            )


def _why_not(knob: SearchKnobs) -> str:
    """Return what decides the order of an answer instead of a reranker; nothing where nothing does."""
    page = knob.page
    if page is None:
        return ""
    if page.sort:
        return "sort decides it"
    if page.group is not None:
        return "group takes one of each value"
    if page.like is not None or page.browses:
        return "there is no query"
    if page.effect is not None and page.effect.boosts:
        return "merchandisers' rules decide it"
    return ""

"""The second stage: candidates of queries are scored with their query, in order, as far as the budget reaches.

Pairs of all requests of a batch are one run where nobody has a budget. Where somebody has one, they go in rounds, the
next candidates of each request in each, until nobody has time left; the rest keep their place behind those scored.
"""

from __future__ import annotations

import copy
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.encoder.pairs import join_pair
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ModelError
from trident.ranking.pair_scorer import PairScorer

ROUND_PAIRS = 8  # of a round, about: a request waits for the others' at most
CACHED_PAIRS = 200_000  # about 20 MB
FORGETS = "TRIDENT_FORGETS_PAIRS"  # set: a benchmark asks, no pair is kept
FORGETTING = 0.8  # of what earlier rounds took, in the mean that foretells the next

Key = tuple[str, bytes]


@dataclass(frozen=True)
class Task:
    """What one query wants: its candidates' titles, best first, and the seconds that it may take.

    Without ``budget_s`` it takes all that it needs.
    """

    query: str
    titles: Sequence[str]
    budget_s: float | None = None


@dataclass
class Counts:
    """What was done since the start."""

    searches: int = 0  # whose candidates were reranked
    cut: int = 0  # of these, by their budget
    pairs: int = 0  # scored; those of the cache are not
    seconds: float = 0.0  # of scoring


class PairCache:
    """Logits of pairs by query and hash of the title, the least used forgotten first; of one reranker.

    Args:
        most: Pairs kept; 0: none; None: as many as about 20 MB hold, none for a benchmark.
    """

    def __init__(self, most: int | None = None) -> None:
        """Start empty."""
        usual = 0 if os.environ.get(FORGETS) else CACHED_PAIRS
        self._most = usual if most is None else most
        self._lock = threading.Lock()
        self._logits: OrderedDict[Key, float] = OrderedDict()
        self.hits = self.misses = 0

    def get(self, keys: Sequence[Key]) -> list[float | None]:
        """Return what is known of pairs."""
        with self._lock:
            found = [self._logits.get(key) for key in keys]
            for key, logit in zip(keys, found, strict=True):
                if logit is not None:
                    self._logits.move_to_end(key)
        known = sum(logit is not None for logit in found)
        self.hits, self.misses = self.hits + known, self.misses + len(found) - known
        return found

    def put(self, keys: Sequence[Key], logits: Sequence[float]) -> None:
        """Keep the logits of pairs."""
        with self._lock:
            self._logits.update(zip(keys, logits, strict=True))
            while len(self._logits) > self._most:
                self._logits.popitem(last=False)


class Reranker:
    """Scores the candidates of queries.

    Args:
        scorer: Of pairs.
        tokenizer: With the text contract of the reranker.
        cache: Of logits.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        scorer: PairScorer,
        tokenizer: TextTokenizer,
        *,
        cache: PairCache | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Keep the parts."""
        self._scorer, self._tokenizer, self._clock = scorer, tokenizer, clock
        self.cache = PairCache() if cache is None else cache
        self._pair_s = 0.0  # that a pair took lately
        self.counts = Counts()

    def for_lone(self, threads: int) -> Reranker:
        """Return the same for who asks alone and has so many cores; logits and counts are kept together."""
        lone = copy.copy(self)
        lone._scorer = self._scorer.for_lone(threads)
        return lone

    @property
    def contract(self) -> TextContract:
        """Lengths of query and product."""
        return self._tokenizer.contract

    def parts(self) -> tuple[PairScorer, TextTokenizer]:
        """Return what scores, and what makes tokens of texts."""
        return self._scorer, self._tokenizer

    def now(self) -> float:
        """Return the time on the clock that budgets are counted by, in seconds."""
        return self._clock()

    def score(self, tasks: Sequence[Task], *, since: float | None = None) -> list[NDArray[np.float32]]:
        """Return the logits of the first candidates of each task, as many as its budget allows.

        Args:
            tasks: Of a batch.
            since: On the clock, from which budgets count; None: from now.

        Raises:
            ModelError: If a pair cannot be scored, or its logit is no number.
        """
        start = self.now() if since is None else since
        logits: list[list[float]] = [[] for _ in tasks]
        open_tasks = [number for number, task in enumerate(tasks) if task.titles]
        if all(tasks[number].budget_s is None for number in open_tasks):
            self._score_next(tasks, {number: len(tasks[number].titles) for number in open_tasks}, logits)
            open_tasks = []
        while open_tasks:
            step = max(1, ROUND_PAIRS // len(open_tasks))
            foretold = self._pair_s * step * len(open_tasks)
            spent = self.now() - start
            open_tasks = [number for number in open_tasks if spent + foretold <= _budget(tasks[number])]
            self._score_next(tasks, dict.fromkeys(open_tasks, step), logits)
            open_tasks = [number for number in open_tasks if len(logits[number]) < len(tasks[number].titles)]
        self.counts.searches += sum(bool(task.titles) for task in tasks)
        self.counts.cut += sum(len(each) < len(task.titles) for each, task in zip(logits, tasks, strict=True))
        return [np.array(each, dtype=np.float32) for each in logits]

    def _score_next(self, tasks: Sequence[Task], counts: dict[int, int], logits: list[list[float]]) -> None:
        """Score the next candidates of some tasks in one run, and add their logits to those that are there."""
        pairs: list[tuple[int, str, str]] = []
        for number, count in counts.items():
            done = len(logits[number])
            pairs += [(number, tasks[number].query, title) for title in tasks[number].titles[done : done + count]]
        if not pairs:
            return
        keys = [(query, _hash(title)) for _, query, title in pairs]
        known = self.cache.get(keys)
        new = [place for place, logit in enumerate(known) if logit is None]
        if new:
            found = self._run([pairs[place][1:] for place in new])
            self.cache.put([keys[place] for place in new], found)
            for place, scored in zip(new, found, strict=True):
                known[place] = scored
        for (number, *_), logit in zip(pairs, known, strict=True):
            assert logit is not None
            logits[number].append(logit)

    def _run(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        started = self.now()
        queries, titles = dict.fromkeys(query for query, _ in pairs), dict.fromkeys(title for _, title in pairs)
        of_query = dict(zip(queries, self._tokenizer.token_ids(list(queries), "query"), strict=True))
        of_title = dict(zip(titles, self._tokenizer.token_ids(list(titles), "product"), strict=True))
        logits = self._scorer.score([join_pair(of_query[query], of_title[title]) for query, title in pairs])
        wrong = np.flatnonzero(~np.isfinite(logits))
        if len(wrong):
            query, title = pairs[int(wrong[0])]
            raise ModelError(
                f"the logit of a pair must be a finite number, got {logits[wrong[0]]} for query '{query[:60]}' and "
                f"product '{title[:60]}': the reranker's weights are damaged; export again"
            )
        taken = self.now() - started
        each = taken / len(pairs)
        self._pair_s = each if not self._pair_s else FORGETTING * self._pair_s + (1 - FORGETTING) * each
        self.counts.pairs += len(pairs)
        self.counts.seconds += taken
        found: list[float] = logits.tolist()
        return found


def reranked_order(logits: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the places of ``count`` candidates: those scored by their logits, equal ones as they were, then the rest.

    Args:
        logits: (S,) of the first S candidates, S <= count.
        count: Of all.
    """
    scored = np.argsort(-logits, kind="stable")
    return np.concatenate([scored, np.arange(len(logits), count, dtype=np.intp)])


def _budget(task: Task) -> float:
    return float("inf") if task.budget_s is None else task.budget_s


def _hash(title: str) -> bytes:
    return hashlib.blake2b(title.encode("utf-8", "surrogatepass"), digest_size=12).digest()

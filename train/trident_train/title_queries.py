"""Queries made of the words of product titles: training data for a shop with few labels or none.

A sentence encoder reads what a text is about and overlooks single words. Title queries teach it to look at every word:
a title is relevant for a query made of its words, one that lacks a word of the query is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from trident.pairs import Pairs, normalized_query

MAX_TITLES = 50_000  # that are looked at; more are a sample of them
FIRST_WORDS = 12  # of a title; what follows is seldom asked for
WORDS_OF_A_QUERY = (1, 2, 2, 3, 3, 4)  # drawn from; about the lengths of shoppers' queries
RELEVANT = 3  # titles a query, at most
SIMILAR = 3  # irrelevant ones that have some of its words, at most
IRRELEVANT = 4  # with those drawn at random
CANDIDATES = 200  # titles with a word, at most, among which similar ones are sought

_WORD = re.compile(r"\w[\w-]+")


def title_queries(titles: Sequence[str], count: int, *, held_out: frozenset[str], seed: int) -> Pairs:
    """Return pairs of made queries: up to 3 titles that have all words of the query, and 4 that do not.

    Args:
        titles: Of products; of their pairs nothing is used.
        count: Queries to make; fewer come back where the titles give no more.
        held_out: Normalised queries that are never made.
        seed: Another seed, other queries.

    Source: pairs of a text and a piece of it as in Lee et al. 2019 (inverse cloze task) and Izacard et al. 2022
    (Contriever, independent cropping); irrelevant titles by shared words as in Karpukhin et al. 2020 (DPR).
    """
    generator = np.random.default_rng(seed)
    shop = _Titles(titles, generator)
    made: dict[str, None] = {}
    queries: list[str] = []
    chosen: list[str] = []
    labels: list[int] = []
    for _ in range(20 * count):
        if len(made) == count or not shop.usable:
            break
        source = shop.usable[int(generator.integers(len(shop.usable)))]
        words = _drawn_words(shop.words[source], generator)
        query = " ".join(words)
        if query in made or normalized_query(query) in held_out:
            continue
        relevant, irrelevant = shop.judged(source, frozenset(words), generator)
        if not irrelevant:
            continue
        made[query] = None
        rows = [*relevant, *irrelevant]
        queries += [query] * len(rows)
        chosen += [shop.titles[row] for row in rows]
        labels += [1] * len(relevant) + [0] * len(irrelevant)
    return Pairs(
        queries=queries,
        titles=chosen,
        labels=np.array(labels, dtype=np.int8),
        grades=np.array(labels, dtype=np.float32),
        product_ids=chosen,
    )


class _Titles:
    """Distinct titles, their first words, and where each word stands."""

    def __init__(self, titles: Sequence[str], generator: np.random.Generator) -> None:
        self.titles = sorted(set(titles))
        if len(self.titles) > MAX_TITLES:
            kept = generator.choice(len(self.titles), size=MAX_TITLES, replace=False)
            self.titles = [self.titles[row] for row in sorted(kept.tolist())]
        every = [list(dict.fromkeys(_WORD.findall(title.casefold()))) for title in self.titles]
        self.words = [words[:FIRST_WORDS] for words in every]
        self.sets = [frozenset(words) for words in every]
        self.usable = [row for row, words in enumerate(self.words) if len(words) >= 2]
        self.rows_with: dict[str, list[int]] = {}
        for row, words in enumerate(every):
            for word in words:
                self.rows_with.setdefault(word, []).append(row)

    def judged(self, source: int, words: frozenset[str], generator: np.random.Generator) -> tuple[list[int], list[int]]:
        """Return rows of titles that have all the words, the source first, and of titles that have not."""
        shared: Counter[int] = Counter()
        for word in sorted(words):
            shared.update(_sample(self.rows_with[word], CANDIDATES, generator))
        complete = [row for row in shared if words <= self.sets[row] and row != source]
        partial = sorted((row for row in shared if not words <= self.sets[row]), key=lambda row: -shared[row])
        relevant = [source, *_sample(complete, RELEVANT - 1, generator)]
        irrelevant = _sample(partial[: 10 * SIMILAR], SIMILAR, generator)
        others = generator.integers(len(self.titles), size=2 * IRRELEVANT).tolist()
        irrelevant += [row for row in dict.fromkeys(others) if not words <= self.sets[row] and row not in irrelevant]
        return relevant, irrelevant[:IRRELEVANT]


def _drawn_words(words: Sequence[str], generator: np.random.Generator) -> list[str]:
    """Return words of a title in their order, fewer than all: half the time a run of them."""
    count = min(int(generator.choice(WORDS_OF_A_QUERY)), len(words) - 1)
    if generator.random() < 0.5:
        first = int(generator.integers(len(words) - count + 1))
        return list(words[first : first + count])
    places = generator.choice(len(words), size=count, replace=False)
    return [words[place] for place in sorted(places.tolist())]


def _sample(rows: Sequence[int], count: int, generator: np.random.Generator) -> list[int]:
    if len(rows) <= count:
        return list(rows)
    return [rows[place] for place in sorted(generator.choice(len(rows), size=count, replace=False).tolist())]

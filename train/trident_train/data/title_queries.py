"""Queries made of the words of product titles: training data for a shop with few labels or none.

A sentence encoder reads what a text is about and overlooks single words. Title queries teach it to look at every word:
a title is relevant for a query made of its words, one that lacks a word of the query is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import snowballstemmer

from trident.data.pairs import Pairs, normalized_query

MAX_TITLES = 50_000  # that are looked at; more are a sample of them
FIRST_WORDS = 12  # of a title; what follows is seldom asked for
WORDS_OF_A_QUERY = (1, 2, 2, 3, 3, 4)  # drawn from; about the lengths of shoppers' queries
SHARES_OF_PHRASES = {1: 0.35, 2: 0.45, 3: 0.2}  # of common phrases, by words
COMMON = 5  # titles that a common phrase stands in, at least
RELEVANT = 3  # titles a query, at most
SIMILAR = 3  # irrelevant ones that have some of its words, at most
IRRELEVANT = 4  # with those drawn at random
CANDIDATES = 200  # titles with a word, at most, among which similar ones are sought

_WORD = re.compile(r"\w[\w-]+")


def title_queries(
    titles: Sequence[str],
    count: int,
    *,
    held_out: frozenset[str],
    seed: int,
    kind: Literal["drawn", "common"] = "drawn",
    language: str = "english",
) -> Pairs:
    """Return pairs of made queries: up to 3 titles that have all words of the query, and 4 that do not.

    Args:
        titles: Of products; of their pairs nothing is used.
        count: Queries to make; fewer come back where the titles give no more.
        held_out: Normalised queries that are never made.
        seed: Another seed, other queries.
        language: Of snowball's stemmers: a word is in a title that has another form of it, such as the plural.
        kind: ``drawn``: words of a title, as of a search for that one. ``common``: one to three words that stand next
            to each other in several titles, the more the likelier, as of a search for a kind of product.

    Source: pairs of a text and a piece of it as in Lee et al. 2019 (inverse cloze task) and Izacard et al. 2022
    (Contriever, independent cropping); irrelevant titles by shared words as in Karpukhin et al. 2020 (DPR).
    """
    generator = np.random.default_rng(seed)
    shop = _Titles(titles, generator, Stems(language))
    made: dict[str, None] = {}
    queries: list[str] = []
    chosen: list[str] = []
    labels: list[int] = []
    proposals = _drawn(shop, 20 * count, generator) if kind == "drawn" else _common(shop, count, generator)
    for source, words in proposals:
        query = " ".join(words)
        if query in made or normalized_query(query) in held_out:
            continue
        relevant, irrelevant = shop.judged(source, shop.stems.of(words), generator)
        if not irrelevant:
            continue
        made[query] = None
        rows = [*relevant, *irrelevant]
        queries += [query] * len(rows)
        chosen += [shop.titles[row] for row in rows]
        labels += [1] * len(relevant) + [0] * len(irrelevant)
        if len(made) == count:
            break
    return Pairs(
        queries=queries,
        titles=chosen,
        labels=np.array(labels, dtype=np.int8),
        grades=np.array(labels, dtype=np.float32),
        product_ids=chosen,
    )


class Stems:
    """Stems of words in one language, each made once."""

    def __init__(self, language: str) -> None:
        """Take snowball's stemmer of a language."""
        self._stemmer = snowballstemmer.stemmer(language)
        self._known: dict[str, str] = {}

    def of(self, words: Iterable[str]) -> frozenset[str]:
        """Return the distinct stems of words."""
        return frozenset(self.one(word) for word in words)

    def one(self, word: str) -> str:
        """Return the stem of a word."""
        if word not in self._known:
            self._known[word] = self._stemmer.stemWord(word)
        return self._known[word]


class _Titles:
    """Distinct titles, their first words, and where each stem stands."""

    def __init__(self, titles: Sequence[str], generator: np.random.Generator, stems: Stems) -> None:
        self.stems = stems
        self.titles = sorted(set(titles))
        if len(self.titles) > MAX_TITLES:
            kept = generator.choice(len(self.titles), size=MAX_TITLES, replace=False)
            self.titles = [self.titles[row] for row in sorted(kept.tolist())]
        every = [list(dict.fromkeys(_WORD.findall(title.casefold()))) for title in self.titles]
        self.words = [words[:FIRST_WORDS] for words in every]
        self.sets = [stems.of(words) for words in every]
        self.usable = [row for row, words in enumerate(self.words) if len(words) >= 2]
        self.rows_with: dict[str, list[int]] = {}
        for row, title_stems in enumerate(self.sets):
            for stem in title_stems:
                self.rows_with.setdefault(stem, []).append(row)

    def judged(
        self, source: int, wanted: frozenset[str], generator: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Return rows of titles with all the wanted stems, the source first, and of titles that lack some."""
        shared: Counter[int] = Counter()
        for stem in sorted(wanted):
            shared.update(sample(self.rows_with[stem], CANDIDATES, generator))
        complete = [row for row in shared if wanted <= self.sets[row] and row != source]
        partial = sorted((row for row in shared if not wanted <= self.sets[row]), key=lambda row: -shared[row])
        relevant = [source, *sample(complete, RELEVANT - 1, generator)]
        irrelevant = sample(partial[: 10 * SIMILAR], SIMILAR, generator)
        others = generator.integers(len(self.titles), size=2 * IRRELEVANT).tolist()
        irrelevant += [row for row in dict.fromkeys(others) if not wanted <= self.sets[row] and row not in irrelevant]
        return relevant, irrelevant[:IRRELEVANT]


def complete_titles(queries: Sequence[str], titles: Sequence[str], language: str = "english") -> list[tuple[int, int]]:
    """Return (row of a query, row of a title) for every distinct made query and distinct title with all its words."""
    stems = Stems(language)
    query_rows = {query: row for row, query in reversed(list(enumerate(queries)))}
    title_rows = {title: row for row, title in reversed(list(enumerate(titles)))}
    rows_with: dict[str, set[int]] = {}
    for title, row in title_rows.items():
        for stem in stems.of(_WORD.findall(title.casefold())):
            rows_with.setdefault(stem, set()).add(row)
    found = []
    for query, row in query_rows.items():
        complete = set.intersection(*(rows_with.get(stem, set()) for stem in stems.of(query.split(" "))))
        found += [(row, title) for title in complete]
    return sorted(found)


def _drawn(shop: _Titles, tries: int, generator: np.random.Generator) -> Iterator[tuple[int, list[str]]]:
    for _ in range(tries if shop.usable else 0):
        source = shop.usable[int(generator.integers(len(shop.usable)))]
        yield source, _drawn_words(shop.words[source], generator)


def _common(shop: _Titles, count: int, generator: np.random.Generator) -> Iterator[tuple[int, list[str]]]:
    """Yield phrases, shuffled, each with a title that it stands in."""
    rows_with: dict[tuple[str, ...], list[int]] = {}
    for row, words in enumerate(shop.words):
        runs = [tuple(words[at : at + size]) for size in SHARES_OF_PHRASES for at in range(len(words) - size + 1)]
        for phrase in dict.fromkeys(runs):
            rows_with.setdefault(phrase, []).append(row)
    chosen: list[tuple[str, ...]] = []
    for size, share in SHARES_OF_PHRASES.items():
        known = [
            phrase
            for phrase, rows in rows_with.items()
            if len(phrase) == size and len(rows) >= COMMON and any(word.isalpha() for word in phrase)
        ]
        weights = np.array([len(rows_with[phrase]) for phrase in known]) ** 0.5
        drawn = min(round(count * share), len(known))
        if drawn:
            places = generator.choice(len(known), size=drawn, replace=False, p=weights / weights.sum())
            chosen += [known[place] for place in places]
    for place in generator.permutation(len(chosen)):
        rows = rows_with[chosen[place]]
        yield rows[int(generator.integers(len(rows)))], list(chosen[place])


def _drawn_words(words: Sequence[str], generator: np.random.Generator) -> list[str]:
    """Return words of a title in their order, fewer than all: half the time a run of them."""
    count = min(int(generator.choice(WORDS_OF_A_QUERY)), len(words) - 1)
    if generator.random() < 0.5:
        first = int(generator.integers(len(words) - count + 1))
        return list(words[first : first + count])
    places = generator.choice(len(words), size=count, replace=False)
    return [words[place] for place in sorted(places.tolist())]


def sample(rows: Sequence[int], count: int, generator: np.random.Generator) -> list[int]:
    """Return ``count`` of the rows in their order, all where there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[place] for place in sorted(generator.choice(len(rows), size=count, replace=False).tolist())]

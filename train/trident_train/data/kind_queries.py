"""Queries for kinds of products, made of titles: "phone case" is a kind where titles end a phrase with it.

"Classic Laptop Sleeve" has the word of the query "laptop" and is none: there the phrase goes on. Title queries that
count every title with the words as relevant teach an encoder to find accessories first; these do not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trident.data.pairs import Pairs, normalized_query
from trident_train.data.lexical import load_bm25s
from trident_train.data.title_queries import COMMON, MAX_TITLES, RELEVANT, Stems, sample

SHARES_OF_KINDS = {1: 0.35, 2: 0.45, 3: 0.2}  # of the queries, by words of the kind
SHARE_OF_ENDS = 0.3  # of the titles with a phrase, in which it ends; with fewer it is part of longer phrases
SHARE_OF_NUMBERS = 0.8  # of its ends, after a number; a word with as many is a unit
NARROWED = 0.5  # of the queries have one more word of a title, such as its brand
HALF_RELEVANT = 1  # titles a query that have its words while the phrase goes on, at most
SIMILAR = 3  # irrelevant titles a query that have some of its words, at most

_WORD = re.compile(r"\w[\w-]+")
_GOES_ON = re.compile(r"\s+([^\W\d_])")  # white space and a letter
_NUMBER = re.compile(r"(?:^|[\s(])[\d.,]+[\s-]*$")


@dataclass(frozen=True)
class Word:
    """A word of a title, case folded; ``ends``: a phrase ends with it; ``counted``: it stands after a number."""

    text: str
    ends: bool
    counted: bool


def read_words(title: str) -> list[Word]:
    """Return the words of a title.

    A phrase ends where no letter follows (a number, a bracket, a comma, the end), and where a lower-case word is
    followed by a capital: "CLEAR mobile phone case Black 15.5 cm" has one that ends with "case".
    """
    words = []
    for match in _WORD.finditer(title):
        after = _GOES_ON.match(title, match.end())
        ends = after is None or (match[0].islower() and after[1].isupper())
        words.append(Word(match[0].casefold(), ends, _NUMBER.search(title[: match.start()]) is not None))
    return words


def kind_queries(
    titles: Sequence[str], count: int, *, held_out: frozenset[str], seed: int, language: str = "english"
) -> Pairs:
    """Return pairs of made queries; fewer queries come back where the titles give no more.

    A query is a phrase of one to three words that ends in at least five titles, half the time after one more word of a
    title. Up to three titles with all words that end a phrase with its last one are relevant (grade 1). One with all
    words where the phrase goes on has grade 0.5, label 0. Up to three with some of its words are irrelevant.

    Args:
        titles: Of products; of their pairs nothing is used.
        count: Queries to make.
        held_out: Normalised queries that are never made.
        seed: Another seed, other queries.
        language: Of snowball's stemmers: forms of a word count as that word.
    """
    generator = np.random.default_rng(seed)
    shop = _Shop(titles, generator, language)
    made: set[str] = set()
    queries: list[str] = []
    chosen: list[str] = []
    grades: list[float] = []
    for phrase in _drawn(shop.kinds(), count, generator):
        query = shop.query(phrase, generator)
        if query in made or normalized_query(query) in held_out:
            continue
        graded = shop.graded(query.split(" "), generator)
        if not any(grade == 0 for _, grade in graded):
            continue
        made.add(query)
        queries += [query] * len(graded)
        chosen += [shop.titles[row] for row, _ in graded]
        grades += [grade for _, grade in graded]
        if len(made) == count:
            break
    return Pairs(
        queries=queries,
        titles=chosen,
        labels=np.array([grade == 1 for grade in grades], dtype=np.int8),
        grades=np.array(grades, dtype=np.float32),
        product_ids=chosen,
    )


def kind_titles(queries: Sequence[str], titles: Sequence[str], language: str = "english") -> list[tuple[int, int]]:
    """Return (row of a query, row of a title) for every distinct made query and distinct title of that kind."""
    stems = Stems(language)
    query_rows = {query: row for row, query in reversed(list(enumerate(queries)))}
    title_rows = {title: row for row, title in reversed(list(enumerate(titles)))}
    ends_in: dict[str, list[tuple[int, frozenset[str]]]] = {}
    for title, row in title_rows.items():
        words = read_words(title)
        has = stems.of(word.text for word in words)
        for stem in stems.of(word.text for word in words if word.ends):
            ends_in.setdefault(stem, []).append((row, has))
    found = []
    for query, row in query_rows.items():
        asked = query.split(" ")
        wanted, last = stems.of(asked), stems.one(asked[-1])
        found += [(row, title) for title, has in ends_in.get(last, []) if wanted <= has]
    return sorted(found)


class _Shop:
    """Distinct titles, their words, and where each stem stands and ends."""

    def __init__(self, titles: Sequence[str], generator: np.random.Generator, language: str) -> None:
        self.titles = sorted(set(titles))
        if len(self.titles) > MAX_TITLES:
            self.titles = [self.titles[row] for row in sample(range(len(self.titles)), MAX_TITLES, generator)]
        self.stems = stems = Stems(language)
        self.stop_words = stems.of(_stop_words(language))  # for some languages none are known
        self.words = [read_words(title) for title in self.titles]
        self.has = [stems.of(word.text for word in words) for words in self.words]
        self.ends = [stems.of(word.text for word in words if word.ends) for words in self.words]
        self.rows_with: dict[str, list[int]] = {}
        for row, title_stems in enumerate(self.has):
            for stem in title_stems:
                self.rows_with.setdefault(stem, []).append(row)

    def kinds(self) -> dict[tuple[str, ...], list[tuple[int, int]]]:
        """Return phrases that are kinds: (row of a title, position of their last word) where they end."""
        stands: Counter[tuple[str, ...]] = Counter()
        counted: Counter[tuple[str, ...]] = Counter()
        ends: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for row, words in enumerate(self.words):
            for size in SHARES_OF_KINDS:
                for last in range(size - 1, len(words)):
                    run = words[last - size + 1 : last + 1]
                    if any(word.ends for word in run[:-1]):
                        continue
                    phrase = tuple(self.stems.one(word.text) for word in run)
                    stands[phrase] += 1
                    if run[-1].ends:
                        counted[phrase] += run[0].counted
                        ends.setdefault(phrase, []).append((row, last))
        return {
            phrase: places
            for phrase, places in ends.items()
            if len({row for row, _ in places}) >= COMMON
            and len(places) >= SHARE_OF_ENDS * stands[phrase]
            and counted[phrase] < SHARE_OF_NUMBERS * len(places)
            and all(stem.isalpha() for stem in phrase)
            and not any(stem in self.stop_words for stem in phrase)
        }

    def query(self, places: tuple[int, list[tuple[int, int]]], generator: np.random.Generator) -> str:
        """Return a query for a kind of so many words, given where it ends: as a title has it, maybe narrowed."""
        size, ends = places
        row, last = ends[int(generator.integers(len(ends)))]
        words = self.words[row]
        phrase = [word.text for word in words[last - size + 1 : last + 1]]
        before = [word.text for word in words[: last - size + 1] if self._may_narrow(word) and word.text not in phrase]
        if before and generator.random() < NARROWED:
            phrase.insert(0, before[int(generator.integers(len(before)))])
        return " ".join(phrase)

    def _may_narrow(self, word: Word) -> bool:
        return word.text.isalpha() and not word.counted and self.stems.one(word.text) not in self.stop_words

    def graded(self, words: Sequence[str], generator: np.random.Generator) -> list[tuple[int, float]]:
        """Return rows of titles with their grades for a query of these words."""
        wanted, last = self.stems.of(words), self.stems.one(words[-1])
        shared = Counter(row for stem in wanted for row in self.rows_with[stem])
        complete = [row for row in sorted(shared) if shared[row] == len(wanted)]
        relevant = [row for row in complete if last in self.ends[row]]
        half = [row for row in complete if last not in self.ends[row]]
        partial = [row for row in sorted(shared) if shared[row] == max(len(wanted) - 1, 1) and row not in set(complete)]
        similar = sample(partial, SIMILAR, generator)
        others = generator.integers(len(self.titles), size=2 * SIMILAR).tolist()
        similar += [row for row in dict.fromkeys(others) if not shared[row]][: SIMILAR - len(similar)]
        return [
            *((row, 1.0) for row in sample(relevant, RELEVANT, generator)),
            *((row, 0.5) for row in sample(half, HALF_RELEVANT, generator)),
            *((row, 0.0) for row in similar),
        ]


def _stop_words(language: str) -> Sequence[str]:
    name = "EN_PLUS" if language == "english" else language.upper()
    known: Sequence[str] = getattr(load_bm25s().stopwords, f"STOPWORDS_{name}", ())
    return known


def _drawn(
    kinds: dict[tuple[str, ...], list[tuple[int, int]]], count: int, generator: np.random.Generator
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield (number of words, places) of kinds, frequent ones more often."""
    by_size = {size: [phrase for phrase in kinds if len(phrase) == size] for size in SHARES_OF_KINDS}
    sizes = [size for size, phrases in by_size.items() if phrases]
    if not sizes:
        return
    shares = np.array([SHARES_OF_KINDS[size] for size in sizes])
    chances = {size: np.array([len(kinds[phrase]) for phrase in by_size[size]]) ** 0.5 for size in sizes}
    for size in generator.choice(sizes, size=20 * count, p=shares / shares.sum()).tolist():
        weights = chances[size]
        phrase = by_size[size][int(generator.choice(len(weights), p=weights / weights.sum()))]
        yield size, kinds[phrase]

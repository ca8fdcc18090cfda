"""The words of products that came since an index was made, beside it; scored by its own statistics.

Nothing of it is on a disk: it is made of the titles again when a process starts, and grows with them.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trident.lexical.index import CODE_ROWS, EXACT, MOST_TOKENS, LexicalIndex, LexicalQuery, worth_of_codes
from trident.lexical.postings import Sums, idf

FIRST_TITLES = 1024


class TailWords:
    """Words of titles that have places, 0 and on; a place is added once.

    A title is read once, too: where places get other numbers, what was read of it stays (``renumbered``).

    Args:
        index: Over N rows; place p stands for row N + p.
    """

    def __init__(self, index: LexicalIndex) -> None:
        """Begin with none."""
        self.index = index
        self.end = 0  # places that were looked at
        self.words: Counter[str] = Counter()  # of letters, by how many titles have them
        self.forms: set[str] = set()  # the stems of these
        self._numbers: dict[str, int] = {}  # tokens that the index does not have
        self._titles: dict[int, list[int]] = {}  # by token: which of the titles that were read have it
        self._scores: dict[int, list[float]] = {}  # what it is worth there
        self._read = 0  # titles
        self._place_of = np.full(FIRST_TITLES, -1, dtype=np.int64)  # of a title; -1: it has none any more

    def add(self, titles: Iterable[bytes | None]) -> None:
        """Add the titles of the next places; None: nothing is found there."""
        for title in titles:
            if title is not None:
                self._add(self.end, title.decode())
            self.end += 1

    def number(self, token: str) -> int:
        """Return the number of a token, here or in the index; -1: neither has it."""
        known = self.index.vocabulary.find(token)
        return known if known >= 0 else self._numbers.get(token, -1)

    def found(self, token: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the places that have a token, ascending, and what it is worth at each."""
        scores = np.array(self._scores.get(token, ()), dtype=np.float32)
        titles = np.array(self._titles.get(token, ())[: len(scores)], dtype=np.int64)
        known = titles < self._read  # others were read for a later numbering
        places = self._place_of[titles[known]]
        there = places >= 0
        return places[there], scores[known][there]

    def renumbered(self, kept: NDArray[np.int64]) -> TailWords:
        """Return the words of the same titles where some places have become 0 and on, and the others are none any more.

        Args:
            kept: The places, ascending. This one takes no further titles.
        """
        made = copy.copy(self)
        new_place = np.full(max(self.end, int(kept.max(initial=-1)) + 1) + 1, -1, dtype=np.int64)  # the last one: of -1
        new_place[kept] = np.arange(len(kept))
        made._place_of = new_place[self._place_of]
        made.end = int(np.searchsorted(kept, self.end))
        return made

    @property
    def is_mostly_gone(self) -> bool:
        """Whether most of the titles that were read have no place any more: then it is time to begin anew."""
        return self._read > FIRST_TITLES and 2 * np.count_nonzero(self._place_of[: self._read] >= 0) < self._read

    def _add(self, place: int, title: str) -> None:
        tokens = self.index.analyzer.tokens(title)
        postings, bm25 = self.index.postings, self.index.config.bm25
        weight = self.index.config.title
        length = weight * len(tokens)
        norm = bm25.k1 * (1 - bm25.b + bm25.b * length / max(postings.mean_length, 1e-9))
        for token, times in Counter(tokens).items() if weight else ():
            number = self.index.vocabulary.find(token)
            frequency = postings.frequency(number) if number >= 0 else 0
            if number < 0:
                number = self._numbers.setdefault(token, len(self.index.vocabulary) + len(self._numbers))
            times *= weight
            self._titles.setdefault(number, []).append(self._read)
            self._scores.setdefault(number, []).append(idf(postings.count, frequency) * times / (norm + times))
        words = set(self.index.analyzer.words(title))
        self.words.update(words)
        self.forms.update(map(self.index.analyzer.stem, words))
        if self._read == len(self._place_of):
            self._place_of = np.concatenate([self._place_of, np.full(self._read, -1, dtype=np.int64)])
        self._place_of[self._read] = place
        self._read += 1


class LiveLexical:
    """BM25 over the rows of an index that are not gone, and the tail's behind them.

    Args:
        tail: With the words of all places up to ``alive``'s end.
        gone: (N,) of the index's rows.
        alive: (P,) whether a place holds a product.
    """

    def __init__(self, tail: TailWords, gone: NDArray[np.bool_], alive: NDArray[np.bool_]) -> None:
        """Keep the parts."""
        self._tail, self._gone, self._alive = tail, gone, alive

    def query(self, text: str) -> LexicalQuery:
        """Return what was typed in the form in which it is searched."""
        numbers = map(self._tail.number, dict.fromkeys(self._tail.index.analyzer.tokens(text)))
        tokens = tuple(number for number in numbers if number >= 0)[:MOST_TOKENS]
        return LexicalQuery(tokens, self.codes(text))

    def codes(self, text: str) -> dict[int, int]:
        """Return the rows that have model numbers of a text, and what each is worth there; as of one index over all."""
        return worth_of_codes(self._tail.index.analyzer.codes(text), self._code_rows)

    def _code_rows(self, code: str, is_word: bool) -> tuple[NDArray[np.int64], int]:
        index, number = self._tail.index, self._tail.number(code)
        rows, value = index.code_rows(code, is_word)
        of_base = rows[~self._gone[rows]].astype(np.int64)
        came = self._living(number) if number >= 0 else of_base[:0]
        if not len(came):
            return of_base, value
        if number >= len(index.vocabulary):  # what only begins so counts where nobody has all of it
            of_base = of_base[:0]
        elif index.postings.frequency(number) > CODE_ROWS:
            return of_base[:0], EXACT
        together = np.concatenate([of_base, len(self._gone) + came])
        return (together if len(together) <= CODE_ROWS else together[:0]), EXACT

    def sums(self, query: LexicalQuery) -> Sums:
        """Return BM25 of every row; 0 of one that holds no product."""
        index, count = self._tail.index, len(self._gone)
        of_base = index.postings.sums(token for token in query.tokens if token < len(index.vocabulary))
        scores = np.zeros(count + len(self._alive), dtype=np.float32)
        touched = []
        for rows in of_base.touched:
            living = rows[~self._gone[rows]]
            scores[living] = of_base.scores[living]
            touched.append(living)
        for token in query.tokens:
            places, values = self._tail.found(token)
            there = places < len(self._alive)
            there[there] = self._alive[places[there]]
            rows = (count + places[there]).astype(np.int32)
            scores[rows] += values[there]
            touched.append(rows)
        return Sums(scores, touched)

    def _living(self, token: int) -> NDArray[np.int64]:
        places, _ = self._tail.found(token)
        places = places[places < len(self._alive)]
        living: NDArray[np.int64] = places[self._alive[places]]
        return living

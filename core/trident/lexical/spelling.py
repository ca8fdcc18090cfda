"""Words that neither the catalogue nor the training queries have, to words that the catalogue has.

Word by word, by rapidfuzz: at most two letters added, left out, changed or swapped with a neighbour. What has a digit
is left alone, and so is a word of under four letters.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from trident.errors import GenerationError
from trident.lexical.index import LexicalIndex

KNOWN_WORDS_FILE = "known_words.txt"
SHORTEST = 4  # letters of a word that is corrected
LONG = 6  # letters from which on two may be wrong; one in shorter words
MOST = 2  # letters that are wrong
LONGEST = 32  # letters of a word that is looked at
WORDS = 16  # of a query that are looked at
REMEMBERED = 20_000
NO_COUNTS: Mapping[str, int] = MappingProxyType({})

_WORD = re.compile(r"[^\W_]+")  # with its digits: such a one is no word of letters


class Spelling:
    """Corrects what is typed to the words of a catalogue.

    Args:
        index: Of the catalogue.
        known: Further words, folded, that are right: those of training queries.
    """

    def __init__(self, index: LexicalIndex, known: frozenset[str] = frozenset()) -> None:
        """Put the words in order of their length."""
        self._index, self._known = index, known
        words, counts = index.words.all(), index.word_counts.tolist()
        order = sorted(range(len(words)), key=lambda place: (len(words[place]), -counts[place], words[place]))
        self._words = [words[place] for place in order]
        self._counts = [counts[place] for place in order]
        lengths = np.array([len(word) for word in self._words], dtype=np.int64)
        self._starts = np.searchsorted(lengths, np.arange(LONGEST + MOST + 2)).tolist()
        self._of_word = lru_cache(REMEMBERED)(self._nearest)

    def corrected(
        self, text: str, more: Mapping[str, int] = NO_COUNTS, forms: Container[str] = frozenset()
    ) -> str | None:
        """Return a text with its unknown words corrected; None where nothing is.

        Args:
            text: What was typed.
            more: Words that came since the index was made, by how many titles have them.
            forms: The stems of these: another form of such a word is right too.
        """
        stem = self._index.analyzer.stem
        wrong: dict[str, str] = {}
        for word in list(dict.fromkeys(self._index.analyzer.words(text)))[:WORDS]:
            if word in more or (more and stem(word) in forms):
                continue
            better = self._of_word(word)
            if better is None and more and self._is_wrong(word):
                better = _best(word, list(more), list(more.values()), _most(word))
            if better is not None:
                wrong[word] = better
        if not wrong:
            return None
        found = " ".join(_WORD.sub(lambda match: self._better(match[0], wrong), piece) for piece in text.split())
        return found if found != " ".join(text.split()) else None

    def _better(self, word: str, wrong: Mapping[str, str]) -> str:
        folded = self._index.analyzer.words(word)
        return wrong.get(folded[0], word) if len(folded) == 1 else word

    def _is_wrong(self, word: str) -> bool:
        is_word = SHORTEST <= len(word) <= LONGEST
        return is_word and word not in self._known and not self._index.knows(word)

    def _nearest(self, word: str) -> str | None:
        """Return the word of the catalogue that was meant; None: it is right, or nothing is near."""
        if not self._is_wrong(word):
            return None
        for distance in range(1, _most(word) + 1):
            start = self._starts[max(len(word) - distance, 2)]
            end = self._starts[min(len(word) + distance, LONGEST + MOST) + 1]
            found = _best(word, self._words[start:end], self._counts[start:end], distance)
            if found is not None:
                return found
        return None


def _most(word: str) -> int:
    return MOST if len(word) >= LONG else 1


def _best(word: str, words: Sequence[str], counts: Sequence[int], distance: int) -> str | None:
    """Return the best word within a distance: nearest, then with the same first letter, then the most frequent.

    Two letters that are wrong are not the first: a word that begins otherwise and differs once more is another word.
    """
    near = process.extract(word, words, scorer=OSA.distance, processor=None, score_cutoff=distance, limit=None)
    near = [each for each in near if each[1] < MOST or each[0][0] == word[0]]
    if not near:
        return None
    best = min(near, key=lambda each: (each[1], each[0][0] != word[0], -counts[each[2]], each[0]))
    return str(best[0])


def save_known(words: Sequence[str], folder: Path) -> None:
    """Write further words that are right."""
    (folder / KNOWN_WORDS_FILE).write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def load_known(folder: Path) -> frozenset[str]:
    """Return what ``save_known`` wrote.

    Raises:
        GenerationError: If it is missing or no text.
    """
    path = folder / KNOWN_WORDS_FILE
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise GenerationError(f"{path} is missing or damaged: {error}; export again") from error

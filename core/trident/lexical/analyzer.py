"""Texts to tokens, the same of titles and of what people type: nothing in a text is a command.

Words are folded and stemmed; a model number is kept whole, and its letters and digits stand beside it, so that
``WH-1000XM4``, ``wh1000xm4`` and ``wh 1000 xm4`` have tokens in common.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import Stemmer

from trident.errors import ConfigError

Language = Literal[
    "none", "arabic", "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian",
    "norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
]  # fmt: skip
LANGUAGES: tuple[str, ...] = get_args(Language)
ELIDING = ("french", "italian")  # an apostrophe parts two words there
VERSION = 1  # rises when a text gets other tokens than before

LONGEST = 64  # characters of a token; what is longer is no word that anybody types
CODE_LETTERS, CODE_DIGITS = 5, 6  # characters that a model number has, with letters and of digits alone
CODE_PIECES = 4  # that a model number may be typed in
CACHED = 50_000  # words whose tokens are remembered

_ACCENTS = re.compile("(?<=[a-z])[\u0300-\u036f]+")  # of Latin letters; elsewhere such a mark makes another letter
_RUN = re.compile(r"[^\W_]+(?:[-_./][^\W_]+)*")  # pieces with one mark between them
_PIECE = re.compile(r"[^\W_]+")
_PART = re.compile(r"\d+|[^\W\d_]+")
_NUMBER = re.compile(r"\d+[.,]\d+")
_MARKED = re.compile(r"[^\W_]+(?:\+{1,2}|#)(?![\w+#])")  # C++, C#, S20+
_HYPHENED = re.compile(r"(?<![\w-])(\d+)-(\d+)(?![\w-])")
_AMOUNT = re.compile(r"\d+(?:x\d+)*[^\W\d_]{0,4}")  # 64gb, 1080p, 1920x1080: no model number
_WITHOUT_BLANKS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")  # kana and Han
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")


@dataclass(frozen=True, kw_only=True)
class AnalyzerConfig:
    """What decides which tokens a text has; it stands in the index, which takes queries of no other."""

    language: Language = "english"  # whose words are stemmed; none: no word is
    version: int = VERSION

    def __post_init__(self) -> None:
        """Check that this code has the language and the version."""
        if self.language not in LANGUAGES:
            raise ConfigError(f"lexical.language must be one of {', '.join(LANGUAGES)}, got '{self.language}'")
        if self.version != VERSION:
            raise ConfigError(f"the analyzer's version must be {VERSION}, got {self.version}: export again")


class Analyzer:
    """Makes tokens of texts.

    Args:
        config: Of the language.
    """

    def __init__(self, config: AnalyzerConfig) -> None:
        """Load the stemmer."""
        self.config = config
        # its own cache has no bound of use here: words are remembered with all their tokens
        self._stem = (lambda word: word) if config.language == "none" else Stemmer.Stemmer(config.language, 0).stemWord
        self._between = " " if config.language in ELIDING else ""
        self._of_word = lru_cache(CACHED)(lambda word: tuple(self._word(word)))

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, in its order and as often as they stand there."""
        return [token for word in self._words(text) for token in self._of_word(word)]

    def words(self, text: str) -> list[str]:
        """Return the words of letters alone, folded and not stemmed: those that have a spelling."""
        pieces = (piece for word in self._words(text) for piece in _PIECE.findall(word))
        return [piece for piece in pieces if piece.isalpha() and not _WITHOUT_BLANKS.search(piece)]

    def stem(self, word: str) -> str:
        """Return the one token of a folded word of letters."""
        return str(self._stem(word))

    def form(self, word: str) -> str:
        """Return what words have in common that are the same here: their tokens; the word itself where it has none."""
        return " ".join(self.tokens(word)) or word

    def codes(self, text: str) -> dict[str, bool]:
        """Return what may be model numbers in a query, the longest first, and whether each was typed as one word.

        Others are neighbours put together.
        """
        words = self._words(text)
        pieces = [piece for word in words for piece in _PIECE.findall(word)][: 2 * LONGEST]
        if not any(map(_has_digit, pieces)):
            return {}
        found = {"".join(pair): True for word in words for pair in _HYPHENED.findall(word) if _is_split_number(*pair)}
        for size in range(min(CODE_PIECES, len(pieces)), 0, -1):
            for start in range(len(pieces) - size + 1):
                joined = "".join(pieces[start : start + size])
                if is_code(joined) and (size == 1 or not joined.isdigit()):  # two numbers are no longer one
                    found[joined] = size == 1
        return found

    def parts(self, code: str) -> list[str]:
        """Return the tokens of letters and of digits that a model number is made of."""
        return [self._stem(part) for part in _PART.findall(code)]

    def _words(self, text: str) -> list[str]:
        folded = unicodedata.normalize("NFKC", text).casefold()
        if not folded.isascii():
            folded = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", folded)))
        return _APOSTROPHE.sub(self._between, folded).split()

    def _word(self, word: str) -> Iterator[str]:
        """Yield the tokens of what stands between two blanks."""
        rest = word
        for number in _NUMBER.findall(word):  # 43.2 is neither 43 nor 2
            whole = number.replace(",", ".")
            if word == number or not re.search(r"[^\W\d_]", word):
                yield whole
                rest = rest.replace(number, " ", 1)
        for marked in _MARKED.findall(rest):
            yield marked[:LONGEST]
        for run in _RUN.findall(rest):
            pieces = _PIECE.findall(run)
            joined = "".join(pieces)
            if len(pieces) > 1 and len(joined) <= LONGEST and (_is_mixed(joined) or (len(pieces) == 2 and "-" in run)):
                yield joined if _is_mixed(joined) else self._stem(joined)
            for piece in pieces:
                yield from self._piece(piece[:LONGEST])

    def _piece(self, piece: str) -> Iterator[str]:
        if _WITHOUT_BLANKS.search(piece):
            for run in _WITHOUT_BLANKS.findall(piece):
                yield from (run[place : place + 2] for place in range(max(1, len(run) - 1)))
            for other in _WITHOUT_BLANKS.split(piece):
                if other:
                    yield from self._piece(other)
        elif _is_mixed(piece):
            yield piece
            yield from self.parts(piece)
        else:
            yield self._stem(piece) if piece.isalpha() else piece


def known_words(queries: Iterable[str], analyzer: Analyzer) -> list[str]:
    """Return the words of letters that stand in two queries at least, in order: one may be a slip."""
    counts = Counter(word for query in set(queries) for word in set(analyzer.words(query)))
    return sorted(word for word, count in counts.items() if count > 1)


def is_code(word: str) -> bool:
    """Return whether a folded word looks like a model number: letters and digits, or many digits; no amount."""
    if len(word) > LONGEST:
        return False
    if word.isdigit():
        return len(word) >= CODE_DIGITS
    return len(word) >= CODE_LETTERS and _is_mixed(word) and _AMOUNT.fullmatch(word) is None


def _is_split_number(first: str, second: str) -> bool:
    """Return whether two numbers with a hyphen between are one, as 593-10294 is; 2019-2020 and 100-240 are ranges."""
    return len(first) != len(second) and is_code(first + second)


def _is_mixed(word: str) -> bool:
    return not word.isalpha() and not word.isdigit() and any(map(str.isalpha, word)) and _has_digit(word)


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))

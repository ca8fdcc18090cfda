"""Which rules speak of a query: by the whole of it, by its words, or of every one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Protocol

MARKS = "\"'`.,;:!?()[]{}<>\u2026\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u00bf\u00a1\u3001\u3002"  # around words


def normalised(text: str) -> str:
    """Return a text in the form in which queries are compared: without case, width, marks around words, more blanks."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(word.strip(MARKS) or word for word in words)


class Spoken(Protocol):
    """A rule that speaks of queries."""

    @property
    def queries(self) -> tuple[str, ...]:
        """The queries, or their words; empty: every query."""

    @property
    def match(self) -> str:
        """How: ``query`` or ``words``."""


class Matching:
    """Finds the rules that speak of a query, by their places.

    Args:
        rules: Of one kind.
    """

    def __init__(self, rules: Sequence[Spoken]) -> None:
        """Sort them by what they are found by."""
        self._whole: dict[str, list[int]] = {}
        self._words: dict[str, list[tuple[frozenset[str], int]]] = {}  # by the longest word
        self.of_all = [place for place, rule in enumerate(rules) if not rule.queries]
        for place, rule in enumerate(rules):
            for query in map(normalised, rule.queries):
                if rule.match == "query":
                    self._whole.setdefault(query, []).append(place)
                else:
                    words = frozenset(query.split())
                    longest = max(sorted(words), key=len)
                    self._words.setdefault(longest, []).append((words, place))

    def places(self, query: str) -> list[int]:
        """Return the places of the rules that name a query: of the whole of it, then of its words, in their order.

        Args:
            query: Normalised.
        """
        found = dict.fromkeys(self._whole.get(query, ()))
        if self._words:
            there = set(query.split())
            by_words = (each for word in there for each in self._words.get(word, ()))
            found |= dict.fromkeys(sorted(place for words, place in by_words if words <= there))
        return list(found)

"""Words that stand for words of a query; the lexical leg looks for them as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from trident.rules.matching import normalised
from trident.rules.ruleset import SynonymRule


class Synonyms:
    """Which words or runs of words are looked for as well.

    Args:
        rules: Of a file.
        stem: Of a word of letters, so that a rule of "sofa" speaks of "sofas" as the lexical leg does.
    """

    def __init__(self, rules: Iterable[SynonymRule], stem: Callable[[str], str] = str) -> None:
        """Sort them by what stands in a query."""
        self._stem = stem
        self._others: dict[tuple[str, ...], dict[str, None]] = {}
        for rule in rules:
            for word in rule.both_ways:
                self._add(word, (other for other in rule.both_ways if other != word))
            if rule.word:
                self._add(rule.word, rule.finds)
        self._longest = max(map(len, self._others), default=0)

    def _add(self, word: str, others: Iterable[str]) -> None:
        known = self._others.setdefault(self._stems(normalised(word).split()), {})
        known |= dict.fromkeys(map(normalised, others))

    def expanded(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return what is looked for beside the words of a query, each once: words, or runs of them as one text.

        A synonym of a synonym is none: what is found is what a rule says, and no more.

        Args:
            words: Of the query, normalised.
        """
        found: dict[str, None] = {}
        stems = self._stems(words)
        for start in range(len(words)):
            for length in range(1, min(self._longest, len(words) - start) + 1):
                found |= self._others.get(stems[start : start + length], {})
        return tuple(found)

    def _stems(self, words: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._stem(word) if word.isalpha() else word for word in words)

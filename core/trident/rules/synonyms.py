"""Words that stand for words of a query; the lexical leg looks for them as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from trident.rules.matching import normalised
from trident.rules.ruleset import SynonymRule


class Synonyms:
    """Which words or runs of words are looked for as well.

    Args:
        rules: Of a file.
        form: Of a word, so that a rule of "sofa" speaks of "sofas", and one of "canape" of "canapé", as the lexical leg
            does.
    """

    def __init__(self, rules: Iterable[SynonymRule], form: Callable[[str], str] = str) -> None:
        """Sort them by what stands in a query."""
        self._form = form
        self._others: dict[tuple[str, ...], dict[str, None]] = {}
        for rule in rules:
            for word in rule.both_ways:
                self._add(word, (other for other in rule.both_ways if other != word))
            if rule.word:
                self._add(rule.word, rule.finds)
        self._longest = max(map(len, self._others), default=0)

    def _add(self, word: str, others: Iterable[str]) -> None:
        known = self._others.setdefault(self._forms(normalised(word).split()), {})
        known |= dict.fromkeys(map(normalised, others))

    def expanded(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return what is looked for beside the words of a query, each once: words, or runs of them as one text.

        A synonym of a synonym is none: what is found is what a rule says, and no more.

        Args:
            words: Of the query, normalised.
        """
        if not self._others:
            return ()
        found: dict[str, None] = {}
        forms = self._forms(words)
        for start in range(len(words)):
            for length in range(1, min(self._longest, len(words) - start) + 1):
                found |= self._others.get(forms[start : start + length], {})
        return tuple(found)

    def _forms(self, words: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(self._form, words))

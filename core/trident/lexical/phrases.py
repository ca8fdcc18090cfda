"""Phrases of a catalogue: runs of words that stand in many titles, and that no longer phrase says as well.

Runs of one word, two, three and four are counted in turn: of n + 1 words only what begins and ends with a frequent run
of n can be frequent. A run is left out where nearly every title that holds it goes on alike ("hewlett" beside "hewlett
packard"), and where it begins or ends with a word that leads on to another ("cable for").

Source: Agrawal and Srikant, Fast algorithms for mining association rules, 1994 (that what is rare alone is rare
together); closed patterns: Pasquier et al., Discovering frequent closed itemsets, 1999.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.lexical.suggestions import Suggested, typed

LONGEST = 4  # words of a phrase
COVERED = 0.9  # of the titles of a phrase: where a longer one stands in so many, it says as much
SHORTEST_WORD = 3  # characters of a phrase of one word
BREAKS = re.compile(
    '[,;:|()\\[\\]{}!?"\u201c\u201d\u201e\u00ab\u00bb\u2022]+|\\s[-\u2013\u2014/+&]+\\s'
)  # between phrases
EDGES = ".'`\u2019-\u2013\u2014_*/\\"
# Words that lead on to another, or from one, in the languages of the catalogues that Trident was tried on.
ENGLISH = "a an and at by for from in of on or the to with without your"
FRENCH = "au aux avec de des du en et la le les ou pour sans sur un une"
GERMAN = "am auf aus das dem den der des die ein eine einen für im in mit ohne oder und von vom zum zur"
ITALIAN_SPANISH = "al con da dal de del della di e el en i il la las lo los o para per por sin su un una y"
OTHERS = "com do dos em na no os um uma een en het met of op te van voor zonder"
LEADING = frozenset(" ".join((ENGLISH, FRENCH, GERMAN, ITALIAN_SPANISH, OTHERS)).split())


@dataclass(frozen=True)
class _Runs:
    """The frequent runs of some length: at each place of the catalogue's words which one begins there, -1 for none.

    ``first`` is a place of each of them, ``titles`` the number of titles that hold it.
    """

    at: NDArray[np.int64]
    first: NDArray[np.int64]
    titles: NDArray[np.int64]


def catalogue_phrases(titles: Iterable[str], *, min_titles: int = 3) -> Iterator[Suggested]:
    """Yield the phrases of a catalogue, with the number of titles that hold each.

    Args:
        titles: Of the products.
        min_titles: In how many a phrase must stand, >= 1.
    """
    words, numbers, of_title = _words(titles)
    longer: _Runs | None = None
    found = [_counted(numbers, of_title, min_titles)]
    while len(found) < LONGEST and len(found[-1].first):
        found.append(_counted(_joined(found[-1]), of_title, min_titles))
    for length in range(len(found), 0, -1):
        runs = found[length - 1]
        covered = _covered(runs, longer)
        for run in np.flatnonzero(~covered).tolist():
            place = int(runs.first[run])
            phrase = [words[number] for number in numbers[place : place + length].tolist()]
            if _is_phrase(phrase):
                yield Suggested(" ".join(phrase), "phrase", int(runs.titles[run]))
        longer = runs


def _words(titles: Iterable[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return the different words; the number of each word of each title, -1 between phrases; and the title of each."""
    number_of: dict[str, int] = {}
    numbers, of_title = array("q"), array("q")
    for title, text in enumerate(titles):
        for part in BREAKS.split(typed(text)):
            for raw in part.split():
                word = raw.strip(EDGES)
                numbers.append(number_of.setdefault(word, len(number_of)) if word else -1)
            numbers.append(-1)
        of_title.extend([title] * (len(numbers) - len(of_title)))
    return list(number_of), np.array(numbers, dtype=np.int64), np.array(of_title, dtype=np.int64)


def _joined(runs: _Runs) -> NDArray[np.int64]:
    """Return at each place a number of the run that is one word longer, -1 where its ends are not frequent."""
    following = np.append(runs.at[1:], -1)
    there = (runs.at >= 0) & (following >= 0)
    joined: NDArray[np.int64] = np.where(there, runs.at * len(runs.first) + following, -1)
    return joined


def _counted(at: NDArray[np.int64], of_title: NDArray[np.int64], min_titles: int) -> _Runs:
    """Return the frequent ones of runs that have some number at each place."""
    places = np.flatnonzero(at >= 0)
    places = places[np.argsort(at[places], kind="stable")]  # titles of a run stay in order
    if not len(places):
        return _Runs(np.full(len(at), -1, dtype=np.int64), places, places)
    run, title = at[places], of_title[places]
    is_new = np.append(True, run[1:] != run[:-1])
    starts = np.flatnonzero(is_new)
    counts = np.add.reduceat((is_new | np.append(True, title[1:] != title[:-1])).astype(np.int64), starts)
    frequent = counts >= min_titles
    number = np.where(frequent, np.cumsum(frequent) - 1, -1)  # of each run
    renumbered = np.full(len(at), -1, dtype=np.int64)
    renumbered[places] = np.repeat(number, np.diff(np.append(starts, len(places))))
    return _Runs(renumbered, places[starts][frequent], counts[frequent])


def _covered(runs: _Runs, longer: _Runs | None) -> NDArray[np.bool_]:
    """Return which runs a longer one says as well."""
    most = np.zeros(len(runs.first), dtype=np.int64)
    if longer is not None and len(longer.first):
        np.maximum.at(most, runs.at[longer.first], longer.titles)
        np.maximum.at(most, runs.at[longer.first + 1], longer.titles)
    return np.asarray(most >= COVERED * runs.titles)


def _is_phrase(words: list[str]) -> bool:
    if words[0] in LEADING or words[-1] in LEADING or not any(letter.isalpha() for word in words for letter in word):
        return False
    return len(words) > 1 or len(words[0]) >= SHORTEST_WORD

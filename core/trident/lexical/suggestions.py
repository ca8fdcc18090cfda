"""What a shopper may be about to type: texts in order, mapped from one file by every process, best first for a prefix.

The texts that begin with a prefix are a run of the ordered ones. The best of a run are found by the best of each block
of it: what is among the k best lies in one of the k best blocks. A prefix with one typo is every prefix that is one
edit away, all of which are looked for at once.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trident.attributes.arrays import ArrayFile, ArrayWriter
from trident.lexical.edits import one_edit_away

SUGGESTIONS_FILE = "suggestions.arrays"
SUGGESTIONS_FORMAT = 1
KEY_BYTES = 32  # of a text, by which it is found; what is longer is compared as a whole
BLOCK = 256  # texts of a block
MOST = 100  # suggestions of a prefix
TEXT_BYTES = 100  # of a suggestion; nobody reads a longer one
LETTERS = 48  # the most frequent ones, of which a typo is made up for
TYPO_FROM = 4  # characters of a prefix: of fewer, everything is one edit away
LONGEST_RUN = 1000  # texts that share ``KEY_BYTES`` and are compared as a whole: variants of one title
Source = Literal["query", "phrase"]
SOURCES: tuple[Source, ...] = ("query", "phrase")
HIGHEST = b"\xff"  # which no UTF-8 has


@dataclass(frozen=True)
class Suggested:
    """A text that may be suggested, what it is, and how often it was asked for, or in how many titles it stands."""

    text: str
    source: Source
    count: int


@dataclass(frozen=True)
class Suggestion:
    """A suggestion and what it is: a query of others, or a phrase of the catalogue."""

    text: str
    source: Source


def typed(text: str) -> str:
    """Return what somebody is typing in the form of suggestions; one blank at its end says that a word is complete."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    whole = " ".join(folded.split())
    return f"{whole} " if whole and folded[-1:].isspace() else whole


def write_suggestions(path: Path, suggested: Iterable[Suggested]) -> int:
    """Write a file, and return how many texts are in it.

    Queries come before phrases, more frequent ones before others; of a text that is both, the query is taken.

    Args:
        path: The file.
        suggested: In any order; of a text that comes twice the better is taken. One that is no suggestion (too long,
            not in the form of ``typed``, of characters that are not shown) is left out.
    """
    best: dict[str, Suggested] = {}
    for each in suggested:
        known = best.get(each.text)
        if _may_be_shown(each.text) and (known is None or _rank(each) < _rank(known)):
            best[each.text] = each
    encoded = sorted(text.encode() for text in best)
    ordered = [best[text.decode()] for text in encoded]
    by_rank = sorted(range(len(ordered)), key=lambda row: _rank(ordered[row]))
    ranks = np.zeros(len(ordered), dtype=np.uint32)
    ranks[by_rank] = np.arange(len(ordered), dtype=np.uint32)
    letters = Counter(letter for each in ordered for letter in each.text)
    common = "".join(letter for letter, _ in letters.most_common(LETTERS))
    keys: NDArray[np.bytes_] = np.array(encoded, dtype=f"S{KEY_BYTES}")
    with ArrayWriter(path) as writer:
        writer.add("format", np.array([SUGGESTIONS_FORMAT], dtype=np.int64))
        writer.add("text", np.frombuffer(b"".join(encoded), dtype=np.uint8))
        writer.add("ends", np.cumsum([len(each) for each in encoded], dtype=np.int64))
        writer.add("keys", keys.view(np.uint8))
        writer.add("ranks", ranks)
        starts = np.arange(0, len(ranks), BLOCK)
        writer.add("blocks", np.minimum.reduceat(ranks, starts) if len(ranks) else ranks)
        writer.add("sources", np.array([SOURCES.index(each.source) for each in ordered], dtype=np.uint8))
        writer.add("letters", np.frombuffer(common.encode(), dtype=np.uint8))
    return len(ordered)


class Suggestions:
    """The suggestions of a file; ``complete`` a prefix. Safe from several threads.

    Args:
        path: What ``write_suggestions`` wrote; it is mapped.

    Raises:
        GenerationError: If the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        """Map the arrays."""
        arrays = ArrayFile(path, "suggestions")
        arrays.require("format", SUGGESTIONS_FORMAT)
        self._text: NDArray[np.uint8] = arrays["text"]
        self._ends: NDArray[np.int64] = arrays["ends"]
        self._keys: NDArray[np.bytes_] = arrays["keys"].view(f"S{KEY_BYTES}")
        self._ranks: NDArray[np.uint32] = arrays["ranks"]
        self._blocks: NDArray[np.uint32] = arrays["blocks"]
        self._sources: NDArray[np.uint8] = arrays["sources"]
        self._letters = arrays["letters"].tobytes().decode()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ends)

    def count_of(self, source: Source) -> int:
        """Return how many are of a source."""
        return int(np.count_nonzero(self._sources == SOURCES.index(source)))

    def complete(self, prefix: str, k: int = 10) -> list[Suggestion]:
        """Return the best texts that begin with a prefix, and where those are few, that would but for one typo.

        The first letter is taken as it is, digits are never taken for a typo.

        Args:
            prefix: As it was typed.
            k: Suggestions, 1 to ``MOST``.
        """
        wanted = typed(prefix)
        rows = self._best([self._run(wanted.encode("utf-8", "surrogatepass"))], k)
        if len(rows) < k and len(wanted) >= TYPO_FROM:
            near = self._best(self._near_runs(wanted), k)
            rows += [row for row in near if row not in set(rows)][: k - len(rows)]
        return [Suggestion(self._encoded(row).decode(), SOURCES[self._sources[row]]) for row in rows]

    def _run(self, prefix: bytes) -> range:
        """Return the rows of the texts that begin with a prefix."""
        low = int(np.searchsorted(self._keys, _key(prefix)))
        if len(prefix) < KEY_BYTES:
            return range(low, int(np.searchsorted(self._keys, _key(prefix + HIGHEST))))
        high = int(np.searchsorted(self._keys, _key(prefix), side="right"))
        if len(prefix) == KEY_BYTES:
            return range(low, high)
        rows = range(low, min(high, low + LONGEST_RUN))
        there = [row for row in rows if self._encoded(row).startswith(prefix)]
        return range(there[0], there[-1] + 1) if there else range(0)

    def _near_runs(self, prefix: str) -> list[range]:
        """Return the runs of the prefixes that are one edit away and that some text begins with."""
        near = [each.encode("utf-8", "surrogatepass") for each in self._near(prefix)]
        if not near or not len(self):
            return []
        keys = np.array([each[:KEY_BYTES] for each in near], dtype=f"S{KEY_BYTES}")
        found = self._keys[np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)]
        there = sorted({bytes(each) for each in keys[np.char.startswith(found, keys)]})
        short = [self._run(each) for each in there if len(each) < KEY_BYTES]
        if len(short) == len(there):
            return short
        lengths, whole = {len(each) for each in near}, set(near)
        for key in there:
            if len(key) == KEY_BYTES:
                for row in self._run(key)[:LONGEST_RUN]:
                    text = self._encoded(row)
                    if any(text[:length] in whole for length in lengths):
                        short.append(range(row, row + 1))
        return short

    def _near(self, prefix: str) -> Iterator[str]:
        """Yield what is one edit away from a prefix, behind what some text begins with."""
        return one_edit_away(prefix, self._letters, self._known_length(prefix))

    def _known_length(self, prefix: str) -> int:
        """Return how many characters of a prefix some text begins with."""
        low, high = 0, len(prefix)
        while low < high:
            middle = (low + high + 1) // 2
            if self._run(prefix[:middle].encode("utf-8", "surrogatepass")):
                low = middle
            else:
                high = middle - 1
        return low

    def _best(self, runs: Sequence[range], k: int) -> list[int]:
        """Return the k best rows of some runs, best first, each once."""
        found = [row for run in runs for row in self._best_of(run, k)]
        return sorted(dict.fromkeys(found), key=lambda row: int(self._ranks[row]))[:k]

    def _best_of(self, run: range, k: int) -> list[int]:
        first, last = -(-run.start // BLOCK), run.stop // BLOCK  # whole blocks
        if last - first <= k:
            return _lowest(self._ranks[run.start : run.stop], run.start, k)
        rows = [*range(run.start, first * BLOCK), *range(last * BLOCK, run.stop)]
        for block in _lowest(self._blocks[first:last], first, k):
            rows += range(block * BLOCK, (block + 1) * BLOCK)
        places = np.array(rows, dtype=np.int64)
        return [int(places[place]) for place in _lowest(self._ranks[places], 0, k)]

    def _encoded(self, row: int) -> bytes:
        start = int(self._ends[row - 1]) if row else 0
        return self._text[start : int(self._ends[row])].tobytes()

    def all(self) -> Iterator[Suggestion]:
        """Yield every suggestion, best first."""
        for row in np.argsort(self._ranks).tolist():
            yield Suggestion(self._encoded(row).decode(), SOURCES[self._sources[row]])


def first_of(suggestions: Suggestions, count: int) -> list[str]:
    """Return the best texts of all, for whoever looks at an export."""
    return [each.text for each in islice(suggestions.all(), count)]


def _lowest(ranks: NDArray[np.uint32], start: int, k: int) -> list[int]:
    """Return the places of the k lowest of some ranks, lowest first, counted from ``start``."""
    if len(ranks) > k:
        places = np.argpartition(ranks, k - 1)[:k]
        places = places[np.argsort(ranks[places])]
    else:
        places = np.argsort(ranks)
    return [int(place) + start for place in places]


def _key(prefix: bytes) -> NDArray[np.bytes_]:
    """Return a prefix as one of the keys, which are not copied then to be compared with it."""
    return np.array(prefix[:KEY_BYTES], dtype=f"S{KEY_BYTES}")


def _rank(each: Suggested) -> tuple[int, int, str]:
    return SOURCES.index(each.source), -each.count, each.text


def _may_be_shown(text: str) -> bool:
    return (
        0 < len(text.encode("utf-8", "surrogatepass")) <= TEXT_BYTES
        and text.isprintable()
        and typed(text).strip() == text
    )

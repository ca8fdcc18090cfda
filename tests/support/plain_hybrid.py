"""What a hybrid answer has to be, in plain Python: bm25s called directly, every cosine, the formula of the docs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from trident.lexical.analyzer import Analyzer

RARE = 50  # products that share a model number at most
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Expected:
    """One product of an answer: its row, its cosine, and what decides its place."""

    row: int
    cosine: float
    fused: float


class PlainHybrid:
    """Both legs over N products, without an index.

    Args:
        titles: N of them.
        vectors: (N, D) float32, unit length.
        analyzer: Which tokens a text has, and what may be a model number.
        parameters: k1 and b of BM25.
        depth: Products of a leg.
    """

    def __init__(
        self,
        titles: Sequence[str],
        vectors: NDArray[np.float32],
        analyzer: Analyzer,
        parameters: tuple[float, float],
        depth: int,
    ) -> None:
        self.tokens = [analyzer.tokens(title) for title in titles]
        self.vectors, self.depth, self._analyzer = vectors.astype(np.float64), depth, analyzer
        k1, b = parameters
        self._bm25 = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
        self._bm25.index(self.tokens, show_progress=False)
        self._of_token: dict[str, set[int]] = {}
        for row, tokens in enumerate(self.tokens):
            for token in tokens:
                self._of_token.setdefault(token, set()).add(row)

    def bm25(self, text: str) -> NDArray[np.float64]:
        """Return BM25 of every product, (N,)."""
        tokens = [token for token in dict.fromkeys(self._analyzer.tokens(text)) if token in self._of_token][:64]
        if not tokens:
            return np.zeros(len(self.tokens))
        return np.asarray(self._bm25.get_scores(tokens), dtype=np.float64)

    def codes(self, text: str) -> dict[int, int]:
        """Return what model numbers of a text are worth in the products that have them, as the docs say it."""
        worth: dict[int, int] = {}
        taken: list[str] = []
        for code, is_word in self._analyzer.codes(text).items():
            if any(code in longer for longer in taken):
                continue
            rows, value = self._of_code(code, is_word)
            if 0 < len(rows) <= RARE:
                taken.append(code)
                for row in rows:
                    worth[row] = worth.get(row, 0) + value
        return worth

    def _of_code(self, code: str, is_word: bool) -> tuple[set[int], int]:
        if code in self._of_token:
            return self._of_token[code], 2
        longer = [token for token in self._of_token if token.startswith(code)]
        if longer:
            too_many = len(longer) > RARE
            return (set() if too_many else set().union(*(self._of_token[token] for token in longer))), 1
        parts = set(self._analyzer.parts(code))
        if not is_word or len(parts) < 3 or not all(part in self._of_token for part in parts):
            return set(), 1
        return set.intersection(*(self._of_token[part] for part in parts)), 1

    def answer(self, text: str, vector: NDArray[np.float32], weight: float) -> list[Expected]:
        """Return all that both legs find, best first.

        Args:
            text: What is searched.
            vector: (D,) of it.
            weight: Of words.
        """
        words, cosines, codes = self.bm25(text), self.vectors @ vector.astype(np.float64), self.codes(text)
        rows = range(len(self.tokens))
        dense = sorted(rows, key=lambda row: (-cosines[row], row))[: self.depth]
        lexical = sorted((row for row in rows if words[row] > 0), key=lambda row: (-words[row], row))[: self.depth]
        union = {*dense, *lexical, *codes}
        best = max(words[row] for row in union) or 1.0
        found = [
            Expected(
                row,
                float(cosines[row]),
                (1 - weight) * max(cosines[row], 0) + weight * words[row] / best + codes.get(row, 0),
            )
            for row in union
        ]
        return sorted(found, key=lambda each: (-each.fused, -each.cosine, each.row))


def require_same_order(
    found: Sequence[str], scores: Sequence[float], expected: Sequence[Expected], ids: Sequence[str], within: float
) -> None:
    """Check ids, order and scores; only products that the reference itself holds for equal may change places.

    Args:
        found: Ids of the answer.
        scores: Its cosines.
        expected: The reference's, whole.
        ids: Of every row.
        within: How far a score may be off.
    """
    assert len(found) == len(set(found))
    by_id: Mapping[str, Expected] = {ids[each.row]: each for each in expected}
    np.testing.assert_allclose(scores, [by_id[each].cosine for each in found], atol=within)
    for place, (own, plain) in enumerate(zip(found, expected, strict=False)):
        if own != ids[plain.row]:  # float32 against float64: a tie, if at all
            assert abs(by_id[own].fused - plain.fused) < 1e-6, (place, own, ids[plain.row])


def made_queries(titles: Sequence[str], count: int, draw: random.Random) -> list[str]:
    """Return what people may type: words of titles, of two of them, with a typo, with marks, model numbers."""
    queries = []
    for _ in range(count):
        words, other = draw.choice(titles).split(), draw.choice(titles).split()
        chosen = draw.sample(words, draw.randint(1, len(words)))
        kind: Any = draw.randrange(6)
        if kind == 0:
            chosen = [*chosen, *draw.sample(other, draw.randint(1, len(other)))]
        elif kind == 1:
            place = draw.randrange(len(chosen))
            at = draw.randrange(len(chosen[place]))
            chosen[place] = chosen[place][:at] + draw.choice(LETTERS) + chosen[place][at + 1 :]
        elif kind == 2:
            chosen = [words[-1].lower().replace("-", draw.choice(("", " ", "-")))]
        elif kind == 3:
            chosen = [draw.choice(('"{}"', "-{}", "({})", "{}:", "+{}", "{}*")).format(word) for word in chosen]
        elif kind == 4:
            chosen = [*chosen, "".join(draw.choices(LETTERS, k=7))]
        queries.append(" ".join(chosen))
    return queries

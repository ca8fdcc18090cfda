"""Nearest of vectors that grow in number: compared by the kernels, but for the last few, which NumPy compares.

Compared are all of them, whichever way: what differs is the time. One query over 50,000 vectors of 384 numbers takes
NumPy's matrix product 7 ms of a core and this 2; and its threads, where others have the cores, tens of milliseconds
to be given one (docs/log/live.md). So what is left to NumPy goes without them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.index.codes import LINE, Codes, encode
from trident.index.exact_search import TIE_TOLERANCE, cosines_of_pairs
from trident.index.kernels import kernels
from trident.index.permitted import PermittedLabels
from trident.index.search_ways import NearestLabels, open_vectors

SEGMENT = 4096  # vectors, copied to 8 MB
STEP = 128  # vectors that are encoded at once, in 2 ms
SPARE = 8  # that each segment names beyond what is wanted: of equal ones the caller's order decides


@dataclass(frozen=True, eq=False)
class Chosen:
    """Vectors that are compared, each in the places that ask for it.

    Attributes:
        rows: (U,) of the vectors, ascending, each once.
        first: (U + 1,) where the places of each begin, and the end.
        places: (T,) the places, by row; those of a row ascending.
    """

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, row_of_place: NDArray[np.int64]) -> Chosen:
        """Return those of the rows (T,) that places 0, 1, … ask for, in any order."""
        places = np.argsort(row_of_place, kind="stable")  # which is quick: they are nearly in order
        rows = row_of_place[places]
        is_first = np.concatenate([[True], rows[1:] != rows[:-1]])[: len(rows)]
        first = np.flatnonzero(is_first)
        return cls(rows[first], np.append(first, len(rows)), places)


class GrowingVectors:
    """Vectors that are added behind each other, and never changed.

    Args:
        vectors: (C, D) float32, unit length; only those that were written may be asked for.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Prepare nothing."""
        self.vectors = vectors
        self._segments: tuple[NearestLabels, ...] = ()  # all full but the last
        self._block: tuple[NDArray[np.float32], Codes] | None = None  # of the last, with room for what comes

    def prepare(self, written: int) -> None:
        """Encode what was added, as far as it fills steps; one thread at a time.

        Args:
            written: Vectors that are there.
        """
        if kernels() is None:
            return
        while (done := sum(len(each.vectors) for each in self._segments)) + STEP <= written:
            start = done % SEGMENT
            if not start:
                self._block = self._room()
            assert self._block is not None
            vectors, codes = self._block
            new = slice(start, start + STEP)
            vectors[new] = self.vectors[done : done + STEP]
            made = encode(vectors[new])
            codes.rows[new], codes.scales[new], codes.lost[new] = made.rows, made.scales, made.lost
            upto = start + STEP
            there = Codes(codes.rows[:upto], codes.scales[:upto], codes.lost[:upto])
            full = self._segments[:-1] if start else self._segments
            self._segments = (*full, open_vectors(vectors[:upto], there, None))

    def _room(self) -> tuple[NDArray[np.float32], Codes]:
        dimension = self.vectors.shape[1]
        rows = np.zeros((SEGMENT, -(-dimension // LINE) * LINE), dtype=np.int8)
        codes = Codes(rows, np.zeros(SEGMENT, dtype=np.float32), np.zeros(SEGMENT, dtype=np.float32))
        return np.zeros((SEGMENT, dimension), dtype=np.float32), codes

    def nearest(
        self, queries: NDArray[np.float32], chosen: Chosen, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best places (B, up to k) and their cosines, best first, ties by place.

        Args:
            queries: (B, D) float32, unit length.
            chosen: What is compared.
            k: >= 1.
        """
        segments = self._segments  # as they are now
        ends = [0, *np.cumsum([len(each.vectors) for each in segments]).tolist()]
        cuts = np.searchsorted(chosen.rows, ends)
        asked = [number for number in range(len(segments)) if cuts[number] < cuts[number + 1]]
        starts = [cuts[number] for number in asked]
        parts = [
            self._by_kernel(segments[number], queries, chosen.rows[cuts[number] : cuts[number + 1]] - ends[number], k)
            for number in asked
        ]
        behind = chosen.rows[cuts[-1] :]
        products = self._products(queries, behind) if len(behind) else None
        found = min(k, len(chosen.places))
        best = np.empty((len(queries), found), dtype=np.int64)
        scores = np.empty((len(queries), found), dtype=np.float32)
        for line in range(len(queries)):
            which = [start + labels[line] for start, (labels, _) in zip(starts, parts, strict=True)]
            cosines = [values[line] for _, values in parts]
            if products is not None:
                own = products[line]
                wanted = min(k, len(own))
                candidates = np.flatnonzero(own >= np.partition(own, len(own) - wanted)[-wanted] - TIE_TOLERANCE)
                which.append(cuts[-1] + candidates)
                cosines.append(
                    cosines_of_pairs(self.vectors, behind[candidates], queries, np.full_like(candidates, line))
                )
            best[line], scores[line] = _best(chosen, np.concatenate(which), np.concatenate(cosines), found)
        return best, scores

    def _by_kernel(
        self, segment: NearestLabels, queries: NDArray[np.float32], rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best of some rows of a segment, as places among them, and their cosines."""
        depth = min(k + SPARE, len(rows))
        count = len(segment.vectors)
        permitted = None if len(rows) == count else PermittedLabels(count, named=rows.astype(np.uint32))
        labels, cosines = segment.by_comparing(queries, depth, permitted, gather=True, threads=1)
        return np.searchsorted(rows, labels), cosines

    def _products(self, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the inner products (B, R) with some rows, ascending."""
        if len(rows) < 2 * STEP:
            return np.asarray(np.einsum("bd,rd->br", queries, self.vectors[rows]), dtype=np.float32)
        first, last = int(rows[0]), int(rows[-1]) + 1
        if 4 * len(rows) < last - first:  # few of them: gathered
            return np.asarray(queries @ self.vectors[rows].T)
        return np.asarray((queries @ self.vectors[first:last].T)[:, rows - first])


def _best(
    chosen: Chosen, which: NDArray[np.int64], cosines: NDArray[np.float32], found: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best places of some chosen rows, and their cosines; ties by place."""
    if len(which) > found:  # each has a place at least
        kept = np.flatnonzero(cosines >= np.partition(cosines, len(cosines) - found)[-found])
        which, cosines = which[kept], cosines[kept]
    sizes = chosen.first[which + 1] - chosen.first[which]
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = chosen.places[np.repeat(chosen.first[which], sizes) + within]
    cosines = np.repeat(cosines, sizes)
    order = np.lexsort((places, -cosines))[:found]
    return places[order], cosines[order]

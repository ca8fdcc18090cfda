"""Vectors in 8 bits, each with a scale of its own: what the index walks and compares before it looks at the vectors.

A scale for each vector loses less than one for all or one for each dimension, and products of codes stay whole numbers
(``docs/log/index.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = 127  # codes are -127 to 127
LINE = 64  # bytes of a cache line: rows of codes start on one
BLOCK = 2**14  # vectors encoded at a time
ROUND_UP = 1 + 1e-6  # a norm in float32 must not come out below the norm


@dataclass(frozen=True, eq=False)
class Codes:
    """``scales[u] * rows[u]`` is about vector u; ``lost[u]`` is the norm of what is missing.

    ``rows`` is (U, stride) int8, filled up with zeros to whole cache lines, ``scales`` and ``lost`` are (U,) float32.
    """

    rows: NDArray[np.int8]
    scales: NDArray[np.float32]
    lost: NDArray[np.float32]


def encode(vectors: NDArray[np.float32]) -> Codes:
    """Return the codes of vectors (U, D), none of which is zeros only."""
    count, dimension = vectors.shape
    rows = np.zeros((count, -(-dimension // LINE) * LINE), dtype=np.int8)
    scales, lost = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        exact = vectors[block].astype(np.float64)  # (b, D)
        codes = np.rint(exact * (LEVELS / np.abs(exact).max(axis=1, keepdims=True)))
        # Of length 1, as the vectors are: among near copies the longest would else be nearest to all others.
        scales[block] = 1 / np.linalg.norm(codes, axis=1)
        scale = scales[block, None].astype(np.float64)
        rows[block, :dimension] = codes
        lost[block] = np.linalg.norm(exact - scale * codes, axis=1) * ROUND_UP
    return Codes(rows, scales, lost)

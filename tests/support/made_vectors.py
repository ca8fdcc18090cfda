"""An encoder of tests: a unit vector for each title, drawn by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def embed_by_hash(titles: Sequence[str], dimension: int) -> NDArray[np.float32]:
    """Return vectors (N, D) of N titles, unit length; equal titles have equal ones."""
    rows = []
    for title in titles:
        seed = int.from_bytes(hashlib.sha256(title.encode()).digest()[:4], "big")
        vector = np.random.default_rng(seed).normal(size=dimension)
        rows.append(vector / np.linalg.norm(vector))
    return np.array(rows, dtype=np.float32).reshape(-1, dimension)

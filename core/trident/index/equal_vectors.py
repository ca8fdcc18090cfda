"""Finds equal vectors, which a graph must not see twice: their links would go to each other alone."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def merge_equal(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the label of each row, (N,), and the first row of each label, (U,): labels are in order of first rows."""
    labels: dict[bytes, int] = {}
    label_of_row = np.empty(len(vectors), dtype=np.int64)
    first_rows: list[int] = []
    for row, vector in enumerate(vectors):
        digest = hashlib.blake2b((vector + np.float32(0.0)).tobytes(), digest_size=16).digest()  # -0.0 becomes 0.0
        label = labels.setdefault(digest, len(labels))
        if label == len(first_rows):
            first_rows.append(row)
        label_of_row[row] = label
    return label_of_row, np.array(first_rows, dtype=np.int64)

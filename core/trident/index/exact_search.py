"""Exact nearest neighbours by cosine, and the recall of an approximate search against them.

The reference that the HNSW index is proven against; also what answers when the graph of an index cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.errors import VectorIndexError

NORM_TOLERANCE = 1e-3  # a half-precision encoder stays well inside
TIE_TOLERANCE = 1e-6  # float32 inner products of one pair differ by less between two ways of summing
SCORE_BLOCK = 2**24  # scores held at a time: 64 MiB of float32
RESCORE_BLOCK = 2**12  # candidate vectors copied at a time


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The best rows of B queries, best first.

    ``rows`` is (B, k) int64, the numbers of the rows that were indexed, padded with -1; ``scores`` is (B, k) float32,
    their cosines in [-1, 1], padded with NaN; ``count`` is (B,) int32, how many of the k are there.
    Equal scores are ordered by row number.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    count: NDArray[np.int32]


def check_unit_rows(vectors: NDArray[np.float32], *, name: str, dimension: int | None = None) -> None:
    """Refuse vectors whose inner product is not a cosine.

    Args:
        vectors: What must be (N, D) float32 with rows of length 1 within ``NORM_TOLERANCE``; N may be 0.
        name: What errors call them, for example ``"queries"``.
        dimension: The D to insist on; None takes any but 0.

    Raises:
        VectorIndexError: If the number of axes, the dtype, D or a row is wrong; the first such row is named.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise VectorIndexError(
            f"{name} must be a float32 array of shape (rows, dimension), got {vectors.dtype} of shape {vectors.shape}"
        )
    if dimension is not None and vectors.shape[1] != dimension:
        raise VectorIndexError(
            f"{name} must have dimension {dimension} as the index has, got {vectors.shape[1]}: "
            "use the encoder that the index was built with"
        )
    if vectors.shape[1] == 0:
        raise VectorIndexError(f"{name} must have a dimension of at least 1, got shape {vectors.shape}")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))  # (N,)
    wrong = ~(np.abs(lengths - 1.0) <= NORM_TOLERANCE)  # (N,), true for NaN as well
    if not wrong.any():
        return
    row = int(wrong.argmax())
    where = f"row {row} of {len(vectors)} ({int(wrong.sum())} such rows)"
    if not np.isfinite(vectors[row]).all():
        column = int((~np.isfinite(vectors[row])).argmax())
        raise VectorIndexError(
            f"{name} must be finite, got {vectors[row, column]} in {where}, column {column}: "
            "check the encoder's output on the text of that row"
        )
    if not vectors[row].any():
        raise VectorIndexError(
            f"{name} must have length 1, got zeros only in {where}: check that the text of that row has tokens"
        )
    raise VectorIndexError(f"{name} must have length 1, got {lengths[row]:.6g} in {where}: divide each row by its norm")


def exact_search(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Neighbours:
    """Return the k rows of highest cosine for each query, by comparing it with every row.

    Candidates come from a blocked matrix product. They are scored again one by one, because a matrix product gives
    equal rows scores that differ in the last bit, and ties would not be in row order.

    Args:
        vectors: (N, D) float32, rows of unit length.
        queries: (B, D) float32, rows of unit length.
        k: Neighbours a query, >= 1; more than N is padded.

    Raises:
        VectorIndexError: If an array breaks a rule of ``check_unit_rows`` or k < 1.
    """
    check_unit_rows(vectors, name="vectors")
    check_unit_rows(queries, name="queries", dimension=vectors.shape[1])
    check_positive("k", k)
    found = min(k, len(vectors))
    rows = np.full((len(queries), k), -1, dtype=np.int64)  # (B, k)
    scores = np.full((len(queries), k), np.nan, dtype=np.float32)  # (B, k)
    step = max(1, SCORE_BLOCK // max(1, len(vectors)))
    for start in range(0, len(queries) if found else 0, step):
        block = queries[start : start + step]
        for number, products in enumerate(block @ vectors.T, start=start):  # (N,) each
            threshold = np.partition(products, len(vectors) - found)[len(vectors) - found] - TIE_TOLERANCE
            candidates = np.flatnonzero(products >= threshold)  # (C,), C >= found
            cosines = cosines_of_pairs(vectors, candidates, queries, np.full_like(candidates, number))
            order = np.lexsort((candidates, -cosines))[:found]
            rows[number, :found] = candidates[order]
            scores[number, :found] = cosines[order]
    return Neighbours(rows, scores, np.full(len(queries), found, dtype=np.int32))


def recall(found: Neighbours, exact: Neighbours) -> float:
    """Return the mean share, 0 to 1, of the exact neighbours that were found.

    A row that ties with the last exact neighbour within ``TIE_TOLERANCE`` counts as found: which of two equally
    good products is cut off is no difference in quality.

    Raises:
        VectorIndexError: If the two answer different numbers of queries, or none.
    """
    if len(found.rows) != len(exact.rows) or not len(exact.rows):
        raise VectorIndexError(
            f"recall needs the answers to the same queries, at least one, "
            f"got {len(found.rows)} found and {len(exact.rows)} exact"
        )
    shares = []
    for number, count in enumerate(exact.count.tolist()):
        if count == 0:
            shares.append(1.0)
            continue
        rows, first = np.unique(found.rows[number, : min(count, int(found.count[number]))], return_index=True)
        good = np.isin(rows, exact.rows[number, :count])
        good |= found.scores[number][first] >= exact.scores[number, count - 1] - TIE_TOLERANCE
        shares.append(float(good.sum()) / count)
    return float(np.mean(shares))


def check_positive(name: str, value: int) -> None:
    """Refuse a number of neighbours, candidates or threads below 1.

    Raises:
        VectorIndexError: If the value is below 1.
    """
    if value < 1:
        raise VectorIndexError(f"{name} must be >= 1, got {value}")


def cosines_of_pairs(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], queries: NDArray[np.float32], lines: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosine of vector ``rows[r]`` and query ``lines[r]``, (R,) float32; the same for equal pairs anywhere.

    Args:
        vectors: (N, D) float32, rows of unit length.
        rows: (R,) of them.
        queries: (B, D) float32, rows of unit length.
        lines: (R,) of them.
    """
    cosines = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), RESCORE_BLOCK):
        block = slice(start, start + RESCORE_BLOCK)
        cosines[block] = (vectors[rows[block]] * queries[lines[block]].astype(np.float64)).sum(axis=1)
    return np.clip(cosines, -1.0, 1.0, out=cosines)

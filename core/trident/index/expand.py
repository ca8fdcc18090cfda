"""Labels to product rows: products with equal vectors share a label, and all of them are answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trident.index.permitted import Permitted

# Answers as a flat list: query, place within its answer, product row, cosine; (R,) each.
Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]


class Members:
    """The product rows of each label.

    Args:
        label_of_row: (N,) int64, the label of each row.
    """

    def __init__(self, label_of_row: NDArray[np.int64]) -> None:
        """Sort the rows by label."""
        self.label_of_row = np.asarray(label_of_row)  # a mapped file's own type takes rows slowly
        self.rows_by_label = np.argsort(label_of_row, kind="stable")  # (N,), ascending within a label
        self.sizes = np.bincount(label_of_row)  # (U,) rows a label
        self.starts = np.cumsum(self.sizes) - self.sizes  # (U,) where a label starts in rows_by_label

    def rows_if_plain(self, labels: NDArray[np.int64], cosines: NDArray[np.float32]) -> NDArray[np.int64] | None:
        """Return the rows (B, k) where there is nothing to expand: no label has several rows, and no two tie."""
        if (labels >= 0).all() and (self.sizes[labels] == 1).all() and (cosines[:, 1:] < cosines[:, :-1]).all():
            return np.asarray(self.rows_by_label[self.starts[labels]], dtype=np.int64)
        return None

    def expand(self, labels: NDArray[np.int64], cosines: NDArray[np.float32], wanted: NDArray[np.int64]) -> Places:
        """Return the product rows of labels (B, depth) with their places; ``wanted`` (B,) cuts each query off."""
        last = np.minimum(wanted, labels.shape[1]) - 1  # (B,), each label stands for a row at least
        reach = (cosines >= cosines[np.arange(len(last)), last][:, None]).sum(axis=1).max(initial=0)  # ties count
        labels, cosines, k = labels[:, :reach], cosines[:, :reach], wanted[:, None]  # k is (B, 1)
        sizes = np.minimum(self.sizes[labels], k)  # (B, depth), rows of a label that may be needed
        before = np.cumsum(sizes, axis=1) - sizes  # (B, depth), rows of better labels
        lowest = np.where(before < k, cosines, np.inf).min(axis=1, keepdims=True)  # (B, 1)
        line, column = np.nonzero(cosines >= lowest)  # (T,), labels that tie with the last one compete by row number
        size = sizes[line, column]  # (T,)
        inside = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)  # (R,), number within the label
        row = self.rows_by_label[np.repeat(self.starts[labels[line, column]], size) + inside]  # (R,)
        score, line = np.repeat(cosines[line, column], size), np.repeat(line, size)
        return _placed(line, row, score, wanted)

    def expand_permitted(
        self,
        labels: NDArray[np.int64],
        cosines: NDArray[np.float32],
        wanted: NDArray[np.int64],
        permitted: Permitted,
    ) -> Places:
        """Return what ``expand`` does of permitted rows alone; labels may be padded with -1."""
        line, column = np.nonzero(labels >= 0)
        label = labels[line, column]
        size = self.sizes[label]
        inside = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        row = self.rows_by_label[np.repeat(self.starts[label], size) + inside]
        score, line = np.repeat(cosines[line, column], size), np.repeat(line, size)
        is_permitted = permitted.has(row)
        return _placed(line[is_permitted], row[is_permitted], score[is_permitted], wanted)


def _placed(
    line: NDArray[np.intp], row: NDArray[np.int64], score: NDArray[np.float32], wanted: NDArray[np.int64]
) -> Places:
    """Return rows in order of query, score and row number, each query's cut off."""
    order = np.lexsort((row, -score, line))  # (R,)
    line = line[order]
    rank = np.arange(len(line)) - np.searchsorted(line, line)  # (R,), place within the query
    best = rank < wanted[line]
    return line[best], rank[best], row[order][best], score[order][best]

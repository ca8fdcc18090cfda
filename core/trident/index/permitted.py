"""Which products a search may answer: what a filter leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trident.errors import VectorIndexError

WORD = 64  # bits of a bitmap's numbers
SORTED_SHARE = 64  # of fewer than this part of the rows, labels are sorted; of more, they are marked


class PermittedLabels:
    """The different vectors that permitted products have: named, or marked where they are many.

    Args:
        count: Of labels that there are.
        named: (L,) uint32, ascending; or
        marks: (count,) whether each label is permitted.
    """

    def __init__(
        self, count: int, *, named: NDArray[np.uint32] | None = None, marks: NDArray[np.bool_] | None = None
    ) -> None:
        """Keep what is given; the rest is made when it is first needed."""
        self.count, self._named, self._marks = count, named, marks
        if named is not None:
            self.size = len(named)
        else:
            assert marks is not None
            self.size = int(np.count_nonzero(marks))

    @cached_property
    def labels(self) -> NDArray[np.uint32]:
        """The labels (L,), ascending."""
        if self._named is not None:
            return np.ascontiguousarray(self._named)
        assert self._marks is not None
        return np.flatnonzero(self._marks).astype(np.uint32)

    @cached_property
    def bitmap(self) -> NDArray[np.uint64]:
        """A bit for each of all labels."""
        is_there = np.zeros(-(-self.count // WORD) * WORD, dtype=np.uint8)
        if self._marks is not None:
            is_there[: self.count] = self._marks
        else:
            is_there[self.labels] = 1
        return np.packbits(is_there, bitorder="little").view(np.uint64)


@dataclass(frozen=True, eq=False)
class Permitted:
    """Product rows that a query may be answered with; reuse one for the same filter, it keeps what is made of it.

    Args:
        rows: (P,) uint32, ascending, each once.

    Raises:
        VectorIndexError: If they are not that.
    """

    rows: NDArray[np.uint32]
    _made: dict[int, tuple[NDArray[np.int64], PermittedLabels]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check type and order."""
        if self.rows.ndim != 1 or self.rows.dtype != np.uint32:
            raise VectorIndexError(
                f"permitted rows must be uint32 of one axis, got {self.rows.dtype} of shape {self.rows.shape}"
            )
        wrong = np.flatnonzero(self.rows[1:] <= self.rows[:-1])
        if len(wrong):
            place = int(wrong[0])
            raise VectorIndexError(
                f"permitted rows must ascend, got {self.rows[place]} before {self.rows[place + 1]} at place {place}: "
                "sort them, each once"
            )

    def in_labels(self, label_of_row: NDArray[np.int64], label_count: int) -> PermittedLabels:
        """Return the labels of the rows, made once for each index.

        Args:
            label_of_row: (N,) of the index.
            label_count: How many different ones there are.

        Raises:
            VectorIndexError: If a row is not below N.
        """
        known = self._made.get(id(label_of_row))
        if known is not None and known[0] is label_of_row:
            return known[1]
        if len(self.rows) and int(self.rows[-1]) >= len(label_of_row):
            raise VectorIndexError(
                f"permitted rows must be below {len(label_of_row):,} as the index has, got {self.rows[-1]}: "
                "the filter must be of the same generation"
            )
        if label_count == len(label_of_row):
            made = PermittedLabels(label_count, named=self.rows)
        else:
            made = _labels(label_of_row[self.rows], label_count)
        self._made[id(label_of_row)] = (label_of_row, made)
        return made

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some rows are permitted."""
        if not len(self.rows):
            return np.zeros(len(rows), dtype=np.bool_)
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.asarray(self.rows[place] == rows, dtype=np.bool_)


def _labels(labels: NDArray[np.int64], count: int) -> PermittedLabels:
    if len(labels) * SORTED_SHARE < count:
        return PermittedLabels(count, named=np.unique(labels).astype(np.uint32))
    marks = np.zeros(count, dtype=np.bool_)
    marks[labels] = True
    return PermittedLabels(count, marks=marks)

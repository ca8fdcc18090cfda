"""The catalogue at one number, as it is searched: base, tail, what is gone and what changed. Immutable.

Rows of products are numbered through: those of the base first, then the places of the tail. A place is taken once and
never again, so that an older snapshot goes on being right while a newer one grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trident.index.permitted import Permitted
from trident.live.operations import Entry, Product

FIRST_PLACES = 1024
RECENT = 1000  # changed attributes that are kept beside the others


class BaseRows(Protocol):
    """The rows of a generation's catalogue."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def row(self, product: str) -> int | None:
        """Return the row of a product; None: it has none."""

    def title(self, row: int) -> str:
        """Return the title of a row."""


@dataclass(frozen=True)
class Places:
    """The places of a tail, shared by its snapshots; only what lies behind every snapshot's end is written to.

    Attributes:
        ids: (C,) bytes.
        titles: (C,) bytes.
        rows: (C,) of the vector file.
        attributes: (C,) dictionaries.
    """

    ids: NDArray[np.object_]
    titles: NDArray[np.object_]
    rows: NDArray[np.int64]
    attributes: NDArray[np.object_]

    @classmethod
    def of(cls, capacity: int, before: Places | None = None) -> Places:
        """Return places for so many, with those that were there before."""
        arrays: list[NDArray[Any]] = [np.empty(capacity, dtype=object) for _ in range(3)]
        made = cls(arrays[0], arrays[1], np.zeros(capacity, dtype=np.int64), arrays[2])
        if before is not None:
            for new, old in zip(made.arrays(), before.arrays(), strict=True):
                new[: len(old)] = old
        return made

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays, for all of them alike."""
        return self.ids, self.titles, self.rows, self.attributes


@dataclass(frozen=True)
class Snapshot:
    """The catalogue at one number.

    Attributes:
        number: Of the last operation in it.
        gone: (N,) of the base's rows: deleted or replaced.
        kept: The others; None: none is gone.
        places: Of the tail.
        end: How many of them are taken.
        alive: (end,) places that hold a product at this number.
        tail_rows: How many do.
        overlay: Attributes of base rows that changed without their title: the latest, and older ones.
    """

    number: int
    gone: NDArray[np.bool_]
    kept: Permitted | None = None
    places: Places = field(default_factory=lambda: Places.of(FIRST_PLACES))
    end: int = 0
    alive: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    tail_rows: int = 0
    overlay: tuple[Mapping[int, dict[str, Any]], ...] = ({}, {})

    @property
    def gone_count(self) -> int:
        """How many of the base's rows are gone."""
        return 0 if self.kept is None else len(self.gone) - len(self.kept.rows)

    @property
    def count(self) -> int:
        """Products in the catalogue."""
        return len(self.gone) - self.gone_count + self.tail_rows

    def changed_attributes(self, row: int) -> dict[str, Any] | None:
        """Return the attributes of a base row that changed, or of a place of the tail; None: those of the base."""
        if row >= len(self.gone):
            found: dict[str, Any] = self.places.attributes[row - len(self.gone)]
            return found
        return next((layer[row] for layer in self.overlay if row in layer), None)


@dataclass(frozen=True)
class Change:
    """The last state of a product since a snapshot, and the vector's row where it needs one."""

    product: str
    entry: Entry
    vector_row: int = -1


def needs_vector(base: BaseRows, product: str, entry: Entry) -> bool:
    """Return whether a product must have a vector of its own: the base has it with another title, or not at all."""
    if not isinstance(entry, Product):
        return False
    row = base.row(product)
    return row is None or base.title(row) != entry.title


def _kept(gone: NDArray[np.bool_]) -> Permitted | None:
    return Permitted(np.flatnonzero(~gone).astype(np.uint32)) if gone.any() else None


class Growth:
    """The latest snapshot over a base, and what it takes to make the one that follows.

    Args:
        base: Of the generation.
        number: That it goes to.
    """

    def __init__(self, base: BaseRows, number: int) -> None:
        """Begin with the base alone."""
        self.base = base
        self.snapshot = Snapshot(number, np.zeros(len(base), dtype=bool))
        self._place_of: dict[str, int] = {}  # of the products in the tail

    def advance(self, changes: Sequence[Change], number: int) -> Snapshot:
        """Return the snapshot that follows; the one before stays as it is.

        Args:
            changes: Each product once, its last state.
            number: That the new one goes to.
        """
        before, base = self.snapshot, self.base
        gone, places, end = before.gone.copy(), before.places, before.end
        is_gone_same = True
        alive = np.zeros(end + len(changes), dtype=bool)
        alive[:end] = before.alive
        changed: dict[int, dict[str, Any]] = {}
        for change in changes:
            row, place, entry = base.row(change.product), self._place_of.pop(change.product, None), change.entry
            if place is not None:
                alive[place] = False
            if row is not None:
                now = change.vector_row >= 0 or not isinstance(entry, Product)
                is_gone_same = is_gone_same and now == gone[row]
                gone[row] = now
            if not isinstance(entry, Product):
                continue
            if change.vector_row < 0:
                assert row is not None, f"product {change.product} has no vector"
                changed[row] = entry.attributes
                continue
            if end == len(places.rows):
                places = Places.of(2 * end, places)
            places.ids[end], places.titles[end] = change.product.encode(), entry.title.encode()
            places.rows[end], places.attributes[end] = change.vector_row, entry.attributes
            self._place_of[change.product] = end
            alive[end] = True
            end += 1
        recent, older = before.overlay
        if changed:
            recent = {**recent, **changed}
            if len(recent) >= RECENT:
                recent, older = {}, {**older, **recent}
        self.snapshot = Snapshot(
            number=number,
            gone=before.gone if is_gone_same else gone,
            kept=before.kept if is_gone_same else _kept(gone),
            places=places,
            end=end,
            alive=alive[:end],
            tail_rows=len(self._place_of),
            overlay=(recent, older),
        )
        return self.snapshot

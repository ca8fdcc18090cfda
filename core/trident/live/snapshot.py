"""The catalogue at one number, as it is searched: base, tail, what is gone and what changed. Immutable.

Whatever changed has a place: a product of the tail, and the attributes of a base row that changed without its title.
Rows of products are numbered through: those of the base first, then the places. A place is taken once and never again,
so that an older snapshot goes on being right while a newer one grows; where most places hold nothing any more, new ones
are begun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, Rows
from trident.attributes.columns import ChangedColumns
from trident.index.growing import Chosen
from trident.index.permitted import Permitted
from trident.live.operations import Entry, Product

FIRST_PLACES = 1024


class BaseRows(Protocol):
    """The rows of a generation's catalogue."""

    @property
    def columns(self) -> Attributes:
        """The attributes of the rows."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def row(self, product: str) -> int | None:
        """Return the row of a product; None: it has none."""

    def title(self, row: int) -> str:
        """Return the title of a row."""


@dataclass(frozen=True, eq=False)
class Places:
    """What has a place, shared by snapshots; only what lies behind every snapshot's end is written to.

    Attributes:
        columns: The attributes.
        ids: (C,) bytes, of a product of the tail.
        titles: (C,) bytes, likewise.
        rows: (C,) of the vector file, likewise.
        numbering: The same for those whose places have the same numbers.
        before: Another numbering, and those of its places that are the first ones here, ascending; None: none.
    """

    columns: ChangedColumns
    ids: NDArray[np.object_]
    titles: NDArray[np.object_]
    rows: NDArray[np.int64]
    numbering: object = field(default_factory=object)
    before: tuple[object, NDArray[np.int64]] | None = None

    @classmethod
    def of(cls, columns: ChangedColumns, capacity: int = FIRST_PLACES) -> Places:
        """Return so many places that nothing has yet."""
        columns.reserve(capacity)
        ids, titles = np.empty(capacity, dtype=object), np.empty(capacity, dtype=object)
        return cls(columns, ids, titles, np.zeros(capacity, dtype=np.int64))

    def grown(self) -> Places:
        """Return twice as many, with those that are there."""
        made = self._copied(self.columns, np.arange(len(self.rows)), 2 * len(self.rows))
        return replace(made, numbering=self.numbering, before=self.before)

    def taken(self, places: NDArray[np.int64]) -> Places:
        """Return some of the places, with room for as many."""
        made = self._copied(self.columns.take(places), places, max(FIRST_PLACES, 2 * len(places)))
        return replace(made, before=(self.numbering, places))

    def _copied(self, columns: ChangedColumns, places: NDArray[np.int64], capacity: int) -> Places:
        made = Places.of(columns, capacity)
        new, old = (made.ids, made.titles, made.rows), (self.ids, self.titles, self.rows)
        for to, source in zip(new, old, strict=True):
            to[: len(places)] = source[places]
        return made


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The catalogue at one number.

    Attributes:
        number: Of the last operation in it.
        gone: (N,) of the base's rows: deleted or replaced.
        kept: The others; None: none is gone.
        places: Of what changed.
        alive: (end,) of the places that are taken: whether it holds a product of the tail at this number.
        tail_rows: How many do.
        overlay: (N,) int32, the place that has the attributes of a base row; -1: they are the generation's.
        overlaid: How many base rows have one.
        checksum: Of all that changed since the base; the same in every process that stands at this number.
    """

    number: int
    gone: NDArray[np.bool_]
    kept: Permitted | None
    places: Places
    alive: NDArray[np.bool_]
    tail_rows: int
    overlay: NDArray[np.int32]
    overlaid: int = 0
    checksum: int = 0

    @property
    def base_count(self) -> int:
        """Rows of the base."""
        return len(self.gone)

    @property
    def gone_count(self) -> int:
        """How many of the base's rows are gone."""
        return 0 if self.kept is None else len(self.gone) - len(self.kept.rows)

    @property
    def count(self) -> int:
        """Products in the catalogue."""
        return len(self.gone) - self.gone_count + self.tail_rows

    @property
    def is_base(self) -> bool:
        """Whether nothing has changed."""
        return self.kept is None and not self.tail_rows and not self.overlaid

    @property
    def columns(self) -> ChangedColumns:
        """The attributes by place."""
        return self.places.columns

    @cached_property
    def tail(self) -> NDArray[np.int64]:
        """The places of the tail's products, ascending, (T,)."""
        return np.flatnonzero(self.alive)

    @cached_property
    def tail_vectors(self) -> Chosen:
        """The vectors of the tail's products, for the places of ``tail``."""
        return Chosen.of(self.places.rows[self.tail])

    @cached_property
    def rows(self) -> Rows:
        """The rows that hold a product, ascending, (count,)."""
        of_base = np.arange(self.base_count, dtype=np.uint32) if self.kept is None else self.kept.rows
        return np.concatenate([of_base, (self.tail + self.base_count).astype(np.uint32)])

    @cached_property
    def has_own(self) -> NDArray[np.bool_]:
        """Whether a base row is there with the generation's attributes, (N,)."""
        return ~self.gone & (self.overlay < 0)

    @cached_property
    def changed(self) -> tuple[Rows, NDArray[np.int64]]:
        """The rows that have attributes of their own, ascending, (M,), and the place of each."""
        of_base = np.flatnonzero(self.overlay >= 0) if self.overlaid else np.zeros(0, dtype=np.int64)
        rows = np.concatenate([of_base, self.tail + self.base_count]).astype(np.uint32)
        return rows, np.concatenate([self.overlay[of_base].astype(np.int64), self.tail])

    def places_of(self, rows: NDArray[Any]) -> NDArray[np.int64] | None:
        """Return the place of each row's attributes, -1: the generation has them; None: it has all of them."""
        if not self.tail_rows and not self.overlaid:
            return None
        is_base = rows < self.base_count
        places = rows.astype(np.int64) - self.base_count
        places[is_base] = self.overlay[rows[is_base]]
        return places


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


def _checksum(change: Change, row: int | None) -> int:
    """Return 64 bits of what a product is after a change; 0: as if it had never been there."""
    if isinstance(change.entry, Product):
        told = [change.product, change.entry.title, change.entry.attributes, change.vector_row]
    elif row is None:
        return 0
    else:
        told = [change.product]
    text = json.dumps(told, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


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
        self._place_of: dict[str, int] = {}  # of the products in the tail
        self._checksums: dict[str, int] = {}  # of what changed
        self.snapshot = Snapshot(
            number=number,
            gone=np.zeros(len(base), dtype=bool),
            kept=None,
            places=Places.of(ChangedColumns(base.columns)),
            alive=np.zeros(0, dtype=bool),
            tail_rows=0,
            overlay=np.full(len(base), -1, dtype=np.int32),
        )

    def place(self, product: str) -> int | None:
        """Return the place of a product in the latest tail; None: it has none."""
        return self._place_of.get(product)

    def advance(self, changes: Sequence[Change], number: int) -> Snapshot:
        """Return the snapshot that follows; the one before stays as it is.

        Args:
            changes: Each product once, its last state.
            number: That the new one goes to.
        """
        before, base = self._with_room(len(changes)), self.base
        gone, overlay, places, end = before.gone.copy(), before.overlay.copy(), before.places, len(before.alive)
        is_gone_same, checksum = True, before.checksum
        alive = np.zeros(end + len(changes), dtype=bool)
        alive[:end] = before.alive
        for change in changes:
            row, place, entry = base.row(change.product), self._place_of.pop(change.product, None), change.entry
            own = _checksum(change, row)
            checksum ^= self._checksums.get(change.product, 0) ^ own
            self._checksums[change.product] = own
            if place is not None:
                alive[place] = False
            if row is not None:
                now = change.vector_row >= 0 or not isinstance(entry, Product)
                is_gone_same = is_gone_same and now == gone[row]
                gone[row], overlay[row] = now, -1
            if not isinstance(entry, Product):
                continue
            if end == len(places.rows):
                places = places.grown()
            places.columns.set(end, entry.attributes)
            if change.vector_row < 0:
                assert row is not None, f"product {change.product} has no vector"
                overlay[row] = end
            else:
                places.ids[end], places.titles[end] = change.product.encode(), entry.title.encode()
                places.rows[end] = change.vector_row
                self._place_of[change.product] = end
                alive[end] = True
            end += 1
        self.snapshot = Snapshot(
            number=number,
            gone=before.gone if is_gone_same else gone,
            kept=before.kept if is_gone_same else _kept(gone),
            places=places,
            alive=alive[:end],
            tail_rows=len(self._place_of),
            overlay=overlay,
            overlaid=int(np.count_nonzero(overlay >= 0)),
            checksum=checksum,
        )
        return self.snapshot

    def _with_room(self, more: int) -> Snapshot:
        """Return the latest snapshot, over new places where more do not fit and most of the old ones hold nothing."""
        latest = self.snapshot
        end = len(latest.alive)
        if end + more <= len(latest.places.rows) or end < 2 * (latest.tail_rows + latest.overlaid):
            return latest
        places = np.sort(latest.changed[1])
        new_place = np.full(len(latest.alive) + 1, -1, dtype=np.int32)  # of -1 too
        new_place[places] = np.arange(len(places))
        self._place_of = {product: int(new_place[place]) for product, place in self._place_of.items()}
        return replace(
            latest,
            places=latest.places.taken(places),
            alive=latest.alive[places],
            overlay=new_place[latest.overlay],
        )

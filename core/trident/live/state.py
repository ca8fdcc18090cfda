"""What the catalogue is at a number: the base, and what came since; and what an operation makes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from trident.live.operations import Entry, Operation, Product, Tombstone

Outcome = Literal["done", "stale", "touched", "unknown"]


class Base(Protocol):
    """The products of a generation."""

    @property
    def forgotten(self) -> int:
        """The highest number of what is not known any more; 0: all is."""

    def find(self, product: str) -> Entry | None:
        """Return a product, or what is known of a deleted one; None: it was never there."""


@dataclass(frozen=True)
class Decision:
    """What becomes of an operation.

    Attributes:
        outcome: ``done``; ``stale``: the product has a later version; ``touched``: a later number touched it;
            ``unknown``: there is no such product.
        entry: What is written, where it is done; its number is not set yet.
    """

    outcome: Outcome
    entry: Entry | None = None


class State:
    """The catalogue at a number.

    Args:
        base: Of a generation.
        number: That it goes to.
    """

    def __init__(self, base: Base, number: int) -> None:
        """Begin with the base alone."""
        self.base, self.number = base, number
        self.changes: dict[str, Entry] = {}  # of products touched since

    def find(self, product: str) -> Entry | None:
        """Return a product, or what is known of a deleted one."""
        return self.changes.get(product) or self.base.find(product)

    def last_number(self, product: str) -> int:
        """Return the last number that may have touched a product."""
        return self._last_number(self.find(product))

    def _last_number(self, entry: Entry | None) -> int:
        return self.base.forgotten if entry is None or not entry.number else entry.number

    def apply(self, number: int, product: str, entry: Entry) -> None:
        """Take in the record that follows."""
        assert number == self.number + 1, f"{number} after {self.number}"
        self.changes[product] = entry
        self.number = number

    def decide(self, operation: Operation, pending: Mapping[str, Entry]) -> Decision:
        """Return what becomes of an operation that follows others which are not taken in yet.

        Args:
            operation: Checked.
            pending: The entries of those others, with the numbers that they will have.
        """
        before = pending.get(operation.id) or self.find(operation.id)
        if operation.untouched_after is not None and self._last_number(before) > operation.untouched_after:
            return Decision("touched")
        known = None if before is None else before.version
        if known is not None and operation.version is not None and operation.version < known:
            return Decision("stale")
        version = known if operation.version is None else operation.version
        if operation.action == "upsert":
            return Decision(
                "done",
                Product(title=operation.title, attributes=_without_missing(operation.attributes), version=version),
            )
        if isinstance(before, Product):
            if operation.action == "delete":
                return Decision("done", Tombstone(version=version))
            attributes = _without_missing(before.attributes | operation.attributes)
            return Decision("done", Product(title=before.title, attributes=attributes, version=version))
        if operation.action == "delete" and operation.version is not None and operation.version != known:
            return Decision("done", Tombstone(version=version))  # else an upsert of a lower version would come late
        return Decision("unknown")


def _without_missing(attributes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in attributes.items() if value is not None}

"""What makes the catalogue equal to a shop's dump, which is older than the moment at which it is taken in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trident.attributes.schema import Schema
from trident.errors import DataError
from trident.live.operations import Product
from trident.live.state import State


def dump_of(rows: Iterable[Mapping[str, Any]], schema: Schema) -> dict[str, Product]:
    """Return the products of a dump by id, as the catalogue keeps them: what is missing or blank is left out.

    Args:
        rows: Each with ``id``, ``title`` and ``attributes``.
        schema: Of the catalogue.

    Raises:
        DataError: For an id that is no text, or an attribute that the catalogue does not have so.
    """
    dump: dict[str, Product] = {}
    for row in rows:
        product = row["id"]
        if not isinstance(product, str):
            raise DataError(f"product_id must be text, got {product!r:.60}: its products would all be others")
        checked = schema.check(row["attributes"], f"product '{product}'")
        attributes = {name: value for name, value in checked.items() if value is not None}
        dump[product] = Product(title=row["title"], attributes=attributes)
    return dump


def operations_to(
    state: State, ids: Iterable[str], dump: Mapping[str, Product], *, holds: int, largest_loss: float
) -> Iterator[dict[str, Any]]:
    """Return the operations that make a catalogue equal to a dump, as they are sent.

    Each says that a product which was touched after ``holds`` is left alone: the writer checks that, at the moment at
    which it is written.

    Args:
        state: The catalogue.
        ids: Of every product that may be in it.
        dump: Products by id.
        holds: The catalogue's number when the dump was made.
        largest_loss: Share of the catalogue that may vanish, 0 to 1.

    Raises:
        DataError: If the number is not one of this catalogue yet, or more would vanish.
    """
    if not 0 <= holds <= state.number:
        raise DataError(
            f"--holds must be 0 to {state.number:,}, the catalogue's number, got {holds:,}: trident catalogue stats "
            "says it, before the dump is made"
        )
    there = [product for product in ids if isinstance(state.find(product), Product)]
    gone = [product for product in there if product not in dump and state.last_number(product) <= holds]
    if there and len(gone) > largest_loss * len(there):
        raise DataError(
            f"{len(gone):,} of {len(there):,} products are not in the dump, more than --max-loss {largest_loss:g} of "
            "them: nothing was written; check the dump, or allow more"
        )
    return _operations(state, dump, gone, holds)


def _operations(state: State, dump: Mapping[str, Product], gone: list[str], holds: int) -> Iterator[dict[str, Any]]:
    for product, wanted in dump.items():
        found = state.find(product)
        if isinstance(found, Product) and (found.title, found.attributes) == (wanted.title, wanted.attributes):
            continue
        if state.last_number(product) <= holds:
            row = {"op": "upsert", "id": product, "title": wanted.title, "attributes": wanted.attributes}
            yield row | {"untouched_after": holds}
    for product in gone:
        yield {"op": "delete", "id": product, "untouched_after": holds}

"""The products of a generation, as the live catalogue begins with them; and its encoder, for titles that come later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.attributes.schema import Schema
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.texts import RowsByText, Texts
from trident.generation.generation import Generation
from trident.generation.own_encoder import own_encoder
from trident.index.exact_search import check_unit_rows
from trident.live.known import CATALOGUE_MODEL, Knowledge, load_known
from trident.live.operations import Entry, Product, Tombstone
from trident.live.vectors import Embed

BATCH = 32  # titles that are embedded at once


class CatalogueBase:
    """The products of a catalogue, found by id.

    Args:
        catalogue: Of a generation.
        attributes: Of the same products.
        known: What it carries of their numbers and versions, and of deleted ones.
    """

    def __init__(self, catalogue: Catalogue, attributes: Attributes, known: Knowledge) -> None:
        """Sort the ids."""
        self._known = known
        self._ids, self._titles = catalogue.texts
        self._rows = RowsByText(self._ids)
        self._attributes = attributes
        self._names = [field.name for field in attributes.schema.fields]

    @classmethod
    def of(cls, generation: Generation) -> CatalogueBase:
        """Return that of a generation.

        Raises:
            GenerationError: If its catalogue or attributes are missing or damaged.
        """
        folder = generation.version_folder(CATALOGUE_MODEL)
        catalogue, attributes = Catalogue.load(folder / CATALOGUE_FILE), Attributes.load(folder)
        attributes.require_count(len(catalogue), f"generation {generation.id}")
        return cls(catalogue, attributes, load_known(generation))

    def __len__(self) -> int:
        """Return the number of products."""
        return len(self._titles)

    @property
    def forgotten(self) -> int:
        """The highest number of what is not known any more; 0: all is."""
        return self._known.forgotten

    @property
    def ids(self) -> Texts:
        """The ids, by row."""
        return self._ids

    @property
    def columns(self) -> Attributes:
        """The attributes, by row."""
        return self._attributes

    @property
    def schema(self) -> Schema:
        """The types of the attributes."""
        return self._attributes.schema

    def row(self, product: str) -> int | None:
        """Return the row of a product; None: it has none."""
        return self._rows.row(product)

    def title(self, row: int) -> str:
        """Return the title of a row."""
        return self._titles[row]

    def attributes(self, row: int) -> dict[str, Any]:
        """Return the attributes of a row, without those that are missing."""
        values = self._attributes.of_row(row, self._names)
        return {name: value for name, value in values.items() if value not in (None, "", [])}

    def find(self, product: str) -> Entry | None:
        """Return a product, or what is known of a deleted one; None: it was never there."""
        row, known = self.row(product), self._known.products.get(product)
        if row is None:
            return None if known is None else Tombstone(version=known.version, number=known.number, at=known.at)
        found = Product(title=self._titles[row], attributes=self.attributes(row))
        return found if known is None else replace(found, version=known.version, number=known.number, at=known.at)


def embedder(generation: Generation, *, threads: int = 1) -> Embed:
    """Return what embeds titles as those of a generation were.

    Raises:
        TridentError: If its tokenizer or encoder is missing or damaged.
    """
    tokenizer, encoder = own_encoder(generation, threads=threads)

    def embed(titles: Sequence[str]) -> NDArray[np.float32]:
        parts = [
            encoder.embed_ids(tokenizer.token_ids(titles[start : start + BATCH], "product"), pad_id=tokenizer.pad_id)
            for start in range(0, len(titles), BATCH)
        ]
        vectors = np.concatenate(parts)
        check_unit_rows(vectors, name="vectors of titles")
        return vectors

    return embed

"""The products of a base and what came since, as one catalogue with its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.index.index import VectorIndex
from trident.live.base import CatalogueBase
from trident.live.operations import Product
from trident.live.state import State
from trident.live.vectors import Embed, VectorFile


@dataclass(frozen=True)
class Merged:
    """A catalogue of N products.

    Attributes:
        catalogue: In the order of the base, what is new behind it.
        attributes: (N,) of each product.
        base_rows: (N,) the base's row whose vector a product has, -1 where it needs one of its own.
    """

    catalogue: Catalogue
    attributes: list[dict[str, Any]]
    base_rows: NDArray[np.int64]

    def vectors(self, index: VectorIndex, file: VectorFile, embed: Embed) -> NDArray[np.float32]:
        """Return the vectors (N, D): those of unchanged rows as they are in the index, the others of the tail.

        Raises:
            FullError: If a vector that is missing cannot be kept.
        """
        vectors = np.empty((len(self.base_rows), index.dimension), dtype=np.float32)
        kept, new = np.flatnonzero(self.base_rows >= 0), np.flatnonzero(self.base_rows < 0)
        if len(kept):
            vectors[kept] = index.vectors(self.base_rows[kept])
        if len(new):
            rows = file.rows([self.catalogue.titles[row] for row in new.tolist()], embed, 0)
            vectors[new] = file.vectors[rows]
        return vectors


def merge(base: CatalogueBase, state: State) -> Merged:
    """Return what a state holds over its base, as one catalogue."""
    products: list[tuple[str, Product, int]] = []
    for product in dict.fromkeys([*base.ids, *state.changes]):
        entry = state.find(product)
        if isinstance(entry, Product):
            row = base.row(product)
            same = row is not None and base.title(row) == entry.title
            products.append((product, entry, row if same and row is not None else -1))
    catalogue = Catalogue(
        product_ids=[product for product, _, _ in products],
        titles=[entry.title for _, entry, _ in products],
        attributes=pa.table({"_": pa.nulls(len(products))}).drop_columns(["_"]),
    )
    attributes = [entry.attributes for _, entry, _ in products]
    return Merged(catalogue, attributes, np.array([row for _, _, row in products], dtype=np.int64))

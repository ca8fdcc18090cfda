"""What is searched: the products of a generation, or of a live catalogue at one number; rows are numbered through.

Whatever answers a query holds one ``Products``, never its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, AttributeValues, Rows
from trident.attributes.evaluation import passing_rows, which_pass
from trident.attributes.filters import All
from trident.data.texts import Texts
from trident.index.index import Neighbours, Permitted, VectorIndex
from trident.index.ways import Way as IndexWay
from trident.lexical.index import LexicalQuery
from trident.lexical.postings import Sums
from trident.rules.effects import NamedProducts

# The index's ways, no query at all, words alone, or an engine past one machine.
Way = IndexWay | Literal["browse", "lexical", "cluster"]
WAYS: tuple[Way, ...] = (*get_args(IndexWay), "browse", "lexical", "cluster")
Named = NDArray[np.object_]  # ids or titles of rows, bytes


@dataclass(frozen=True, eq=False)
class Found:
    """Rows of one query, best first, their cosines, and the way that found them."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    way: Way

    @classmethod
    def first(cls, found: Neighbours, way: Way) -> Found:
        """Return what the first query found, without the places that are empty."""
        count = int(found.count[0])
        return cls(found.rows[0, :count], found.scores[0, :count], way)


class Lexical(Protocol):
    """The words of products: what was typed to rows and what they are worth."""

    def query(self, text: str) -> LexicalQuery:
        """Return what was typed in the form in which it is searched."""

    def codes(self, text: str) -> Mapping[int, int]:
        """Return the rows that have model numbers of a text, and what each is worth there."""

    def sums(self, query: LexicalQuery) -> Sums:
        """Return BM25 of every row; 0 of one that holds no product."""


class Products(Protocol):
    """Products that are searched together.

    A filter's rows are ascending uint32; None are all that hold a product.
    """

    @property
    def name(self) -> str:
        """What errors call them."""

    @property
    def number(self) -> int | None:
        """The number of a live catalogue; None: a generation alone."""

    @property
    def ef(self) -> int:
        """The search effort of a query that names none."""

    @property
    def attributes(self) -> AttributeValues:
        """The attributes of the rows."""

    @property
    def lexical(self) -> Lexical | None:
        """The words of the rows; None: they are found by vectors alone."""

    @property
    def rows(self) -> Rows:
        """The rows that hold a product, ascending."""

    @property
    def tail(self) -> Rows:
        """Those of them that the generation does not have, or has with another title."""

    def passing(self, node: All) -> Rows:
        """Return the rows that pass a filter."""

    def nearest(
        self, query: NDArray[np.float32], k: int, ef: int | None, permitted: Rows | None, *, threads: int = 1
    ) -> Found:
        """Return the k products nearest to a query (1, D) among those that are permitted."""

    def nearest_exactly(self, query: NDArray[np.float32], k: int, permitted: Rows | None) -> Neighbours:
        """Return the same by comparing each of them."""

    def nearest_each(
        self, queries: NDArray[np.float32], ks: Sequence[int], efs: Sequence[int | None], *, threads: int = 1
    ) -> tuple[Neighbours, tuple[Way, ...]]:
        """Return ``ks[b]`` products for query b of (B, D), and the way of each."""

    def row(self, product_id: str) -> int | None:
        """Return the row of a product; None: there is none."""

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of rows."""

    def rows_named(self, named: NamedProducts) -> NDArray[np.int64]:
        """Return the rows of the named products that are there, in their order."""

    def which_pass(self, node: All, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some rows pass a filter."""

    def texts(self, rows: NDArray[np.int64]) -> tuple[Named, Named]:
        """Return ids and titles of rows, of their shape; empty for row -1, which is none."""


@dataclass(frozen=True, eq=False)
class GenerationProducts:
    """The products of a generation: an index, and attributes, ids and titles of the same rows."""

    index: VectorIndex
    attributes: Attributes
    product_ids: Texts
    titles: Texts
    name: str = "the generation"
    number: int | None = None
    lexical: Lexical | None = None

    @property
    def ef(self) -> int:
        """The search effort of a query that names none."""
        return self.index.ef

    @property
    def rows(self) -> Rows:
        """All rows."""
        return np.arange(self.index.count, dtype=np.uint32)

    @property
    def tail(self) -> Rows:
        """None."""
        return np.zeros(0, dtype=np.uint32)

    def passing(self, node: All) -> Rows:
        """Return the rows that pass a filter."""
        return passing_rows(node, self.attributes)

    def nearest(
        self, query: NDArray[np.float32], k: int, ef: int | None, permitted: Rows | None, *, threads: int = 1
    ) -> Found:
        """Return the k products nearest to a query; see ``Products``."""
        which = None if permitted is None or len(permitted) == self.index.count else Permitted(permitted)
        found = self.index.search(query, k, ef=ef, permitted=which, threads=threads)
        return Found.first(found, self.index.way(ef, which))

    def nearest_exactly(self, query: NDArray[np.float32], k: int, permitted: Rows | None) -> Neighbours:
        """Return the same by comparing each."""
        return self.index.search_exactly(query, k, permitted=None if permitted is None else Permitted(permitted))

    def nearest_each(
        self, queries: NDArray[np.float32], ks: Sequence[int], efs: Sequence[int | None], *, threads: int = 1
    ) -> tuple[Neighbours, tuple[IndexWay, ...]]:
        """Return the products of each query, and its way."""
        return self.index.search_each(queries, ks, efs, threads=threads), tuple(map(self.index.way, efs))

    def row(self, product_id: str) -> int | None:
        """Return the row of a product; None: there is none."""
        return self.product_ids.rows_of([product_id]).get(product_id)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (R, D) of rows."""
        return self.index.vectors(rows)

    def rows_named(self, named: NamedProducts) -> NDArray[np.int64]:
        """Return the rows of the named products that are there."""
        return named.rows[named.rows >= 0]

    def which_pass(self, node: All, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some rows pass a filter."""
        return which_pass(node, self.attributes, rows)

    def texts(self, rows: NDArray[np.int64]) -> tuple[Named, Named]:
        """Return ids and titles of rows."""
        return self.product_ids.bytes_at(rows), self.titles.bytes_at(rows)

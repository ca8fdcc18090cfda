"""What a query wants beyond the nearest products: a filter, an order, attributes, counts, a further page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trident.attributes.attributes import Attributes
from trident.attributes.facets import Facet, parse_facets
from trident.attributes.filters import All, parse_filter
from trident.attributes.ordering import SortKey, parse_group, parse_sort
from trident.attributes.schema import Field, Schema, shown
from trident.errors import DataError
from trident.search.options import SearchOptions
from trident.search.tensors import K_MAX

FIELDS, OFFSET, LIKE = "fields", "offset", "like"


@dataclass(frozen=True, kw_only=True)
class Page:
    """The options of a query, held against the attributes of a generation.

    Attributes:
        filter: Products that do not pass are left out; None: none is.
        fields: Attributes that stand beside each product.
        facets: What is counted.
        sort: Instead of the score; empty: by score, or in the catalogue's order where there is none.
        group: One product a value; None: every product.
        offset: Products that are left out at the front.
        like: A product's id instead of a query.
        browses: There is neither query nor ``like``: everything that passes, without a score.
    """

    filter: All | None = None
    fields: tuple[str, ...] = ()
    facets: tuple[Facet, ...] = ()
    sort: tuple[SortKey, ...] = ()
    group: Field | None = None
    offset: int = 0
    like: str | None = None
    browses: bool = False

    @property
    def needs_pool(self) -> bool:
        """Whether more products than the page shows are looked at: the best ``K_MAX``."""
        return bool(self.facets or self.sort or self.group)

    def check_depth(self, k: int) -> None:
        """Raise if a search has no such page.

        Raises:
            DataError: If the page lies beyond the products that a search ranks.
        """
        if not self.browses and self.offset + k > K_MAX:
            raise DataError(
                f"{OFFSET} and k together must be at most {K_MAX:,} in a search, got {self.offset:,} and {k:,}: "
                "narrow it by a filter, or browse without a query"
            )


def read_page(options: SearchOptions, attributes: Attributes) -> Page:
    """Return the options of a query as a page.

    Raises:
        DataError: If a value is none that the attributes know.
    """
    schema = attributes.schema
    return Page(
        filter=None if options.filter is None else parse_filter(options.filter, schema),
        fields=() if options.fields is None else _fields(options.fields, schema),
        facets=() if options.facets is None else parse_facets(options.facets, schema),
        sort=() if options.sort is None else parse_sort(options.sort, schema),
        group=None if options.group is None else parse_group(options.group, schema),
        offset=options.offset,
        like=options.like,
    )


def _fields(value: Any, schema: Schema) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DataError(f'{FIELDS} must be a list of fields such as ["brand"], got {shown(value)}')
    return tuple(dict.fromkeys(schema.field(name, FIELDS).name for name in value))

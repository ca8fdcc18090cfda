"""What a request says beyond its knobs: the tensor ``options``, one JSON object a query.

Held against the attributes of a generation it is a ``Page``.

A new key is a field of ``SearchOptions``; its type is what a value must be. Every generation takes the tensor, so that
one that knows more keys can be promoted over one that knows fewer, and back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.attributes.facets import Facet, parse_facets
from trident.attributes.filters import All, parse_filter
from trident.attributes.ordering import SortKey, parse_group, parse_sort
from trident.attributes.schema import Field, Schema, shown
from trident.config import from_table
from trident.errors import ConfigError, DataError, nearest
from trident.ranking.settings import Mode, RankingSettings
from trident.retrieval.tensors import K_MAX, OPTIONS, OPTIONS_MAX_BYTES
from trident.rules.effects import Effect

FIELDS, OFFSET, LIKE, MIN_PROBABILITY = "fields", "offset", "like", "min_probability"
RERANK, RERANK_BUDGET = "rerank", "rerank_budget_ms"
TIMINGS = "timings"
RERANK_MAX = 200  # candidates
SHOWN = 60  # characters of what cannot be read


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The keys of ``options``.

    What a value may be beyond its type, the attributes of a generation say; see ``read_page``.
    """

    filter: Any = None  # what leaves products out; see trident.attributes.filters
    fields: Any = None  # names of attributes that stand beside each product
    facets: Any = None  # names of attributes whose values are counted
    sort: Any = None  # an attribute, or several, instead of the score
    group: Any = None  # an attribute, one product a value
    offset: int = 0  # products left out at the front, >= 0
    like: str | None = None  # a product's id instead of a query
    min_probability: float | None = None  # products that are less likely relevant are left out, 0 to 1
    rerank: int | None = None  # candidates that the second stage puts in order, 0: none; None: what the generation says
    rerank_budget_ms: float | None = None  # milliseconds for that, > 0; None: what the generation says
    rules: bool = True  # whether merchandisers' rules hold
    mode: Mode | None = None  # what ranks; None: what the generation chose
    explain: bool = False  # whether the parts of each product's place stand in the details
    spelling: bool = True  # whether words that the catalogue lacks are corrected
    timings: bool = False  # whether the details say how long the stages took

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.offset < 0:
            raise ConfigError(f"'offset' must be >= 0, got {self.offset}")
        if self.like is not None and not self.like:
            raise ConfigError("'like' must be the id of a product, got ''")
        if self.min_probability is not None and not 0 <= self.min_probability <= 1:  # NaN neither
            raise ConfigError(f"'{MIN_PROBABILITY}' must be 0 to 1, got {self.min_probability}")
        if self.rerank is not None and not 0 <= self.rerank <= RERANK_MAX:
            raise ConfigError(f"'{RERANK}' must be 0 to {RERANK_MAX}, got {self.rerank}")
        if self.rerank_budget_ms is not None and not 0 < self.rerank_budget_ms < float("inf"):
            raise ConfigError(f"'{RERANK_BUDGET}' must be above 0 milliseconds, got {self.rerank_budget_ms}")

    @property
    def narrows(self) -> bool:
        """Whether there is more to it than how a query is ranked."""
        return replace(self, **{name: getattr(NO_OPTIONS, name) for name in RANKING_KEYS}) != NO_OPTIONS


# Keys that are no page's: knobs of the search have their names.
OF_RANKING = (MIN_PROBABILITY, RERANK, RERANK_BUDGET, "rules")
RANKING_KEYS = (*OF_RANKING, TIMINGS, "mode", "explain", "spelling")  # the last three are those of ``RankingKnobs``
NO_OPTIONS = SearchOptions()

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RankingKnobs:
    """The options of a query that say how it is ranked."""

    mode: Mode | None = None  # None: the generation's own
    explain: bool = False
    spelling: bool = True

    @classmethod
    def of(cls, options: SearchOptions) -> RankingKnobs:
        """Return those of a query's options."""
        return cls(mode=options.mode, explain=options.explain, spelling=options.spelling)

    def mode_of(self, settings: RankingSettings) -> Mode:
        """Return the mode that a query is answered in."""
        return settings.mode if self.mode is None else self.mode


PLAIN = RankingKnobs()


def refuse_words(ranking: RankingKnobs, where: str) -> None:
    """Raise where words are asked for and there are none: only embeddings come here, or there is no lexical index.

    Raises:
        DataError: Naming the key.
    """
    if ranking.mode in ("hybrid", "lexical"):
        raise DataError(f"'mode' {ranking.mode} {where}: ask for 'dense', or leave the key out")
    if ranking.explain:
        raise DataError(f"'explain' {where}: leave the key out")


def read_options(values: NDArray[np.object_], options_class: type[T]) -> list[T]:
    """Return the options of each row of a BYTES tensor (B, 1).

    Args:
        values: One JSON object a row.
        options_class: The dataclass whose fields are the keys, each with a default.

    Raises:
        DataError: If a row is no JSON object, or a key is unknown or its value of the wrong type.
    """
    return [_options(value, options_class) for value in values.reshape(-1)]


def _options(value: Any, options_class: type[T]) -> T:
    table = _table(value.encode() if isinstance(value, str) else value)
    known = [field.name for field in fields(options_class)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise DataError(
                f"{OPTIONS} has no key '{key}' in this generation{nearest(key, known)}, it knows "
                f"{', '.join(known) or 'none'}: leave the key out, or promote a generation that knows it"
            )
    try:
        return from_table(options_class, table, where=OPTIONS)
    except ConfigError as error:
        raise DataError(str(error)) from error


def _table(value: bytes) -> dict[str, Any]:
    if len(value) > OPTIONS_MAX_BYTES:
        raise DataError(f"{OPTIONS} must have at most {OPTIONS_MAX_BYTES:,} bytes, got {len(value):,}")
    try:
        found = json.loads(value.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_json)
    except RecursionError as error:
        raise DataError(f"{OPTIONS} must be one JSON object, got one that is nested too deeply") from error
    except ValueError as error:  # no UTF-8, no JSON
        start = value[:SHOWN].decode("utf-8", errors="replace")
        raise DataError(f"{OPTIONS} must be one JSON object such as {{}}, got {start!r} ({error})") from error
    if b"\\ud" in value.lower():  # a character in two halves, or one half of it
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise DataError(f"{OPTIONS} must be UTF-8, got half a character: {half!a}") from error
    if not isinstance(found, dict):
        raise DataError(f"{OPTIONS} must be one JSON object such as {{}}, got {json.dumps(found)[:SHOWN]}")
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' stands there twice")
    return table


def _no_json(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


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
        effect: What merchandisers' rules do to the query; None: nothing.
    """

    filter: All | None = None
    fields: tuple[str, ...] = ()
    facets: tuple[Facet, ...] = ()
    sort: tuple[SortKey, ...] = ()
    group: Field | None = None
    offset: int = 0
    like: str | None = None
    browses: bool = False
    effect: Effect | None = None

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

"""A file of merchandisers' rules: what it may say, read from TOML, each fault of it in one line.

    [[synonyms]]
    both_ways = ["couch", "sofa"]

    [[synonyms]]
    word = "notebook"
    finds = ["laptop"]

    [[pins]]
    queries = ["office chair"]
    products = ["B01", "B02"]

    [[exclusions]]
    queries = ["gift"]           # left out: every query
    products = ["B07"]

    [[boosts]]
    queries = ["desk"]           # left out: every query
    filter = { brand = "Acme" }
    by = 0.05                    # of a cosine, for the order alone

    [[redirects]]
    queries = ["returns"]
    to = "/help/returns"

``match = "words"`` has a rule speak of every query that holds all of its words, in any order; the default, ``"query"``,
of that query alone. Case, width and blanks do not matter.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trident.config import from_table, to_table
from trident.errors import ConfigError, DataError, first_line, nearest
from trident.rules.matching import normalised

Match = Literal["query", "words"]
FILE_MAX_BYTES = 10_000_000
MOST_RULES = 20_000
MOST_PINS = 100  # of a rule: nobody looks at more
MOST_PRODUCTS = 10_000  # of an exclusion
TEXT_MAX = 1_000  # characters of a query, a word, an id
ADDRESS_MAX = 2_000
ADDRESSES = ("/", "https://", "http://")  # what a redirect may begin with; "//" is another host in disguise
VERSION_LENGTH = 12


def _check_texts(name: str, texts: Sequence[str], *, at_least: int = 1, at_most: int = MOST_RULES) -> None:
    if not at_least <= len(texts) <= at_most:
        raise ConfigError(f"{name} must hold {at_least} to {at_most:,} texts, got {len(texts):,}")
    for text in texts:
        if not text.strip() or len(text) > TEXT_MAX:
            raise ConfigError(f"each of {name} must have 1 to {TEXT_MAX:,} characters, got {text[:60]!r}")
    seen: dict[str, str] = {}
    for text in texts:
        key = text if name == "products" else normalised(text)
        if key in seen:
            raise ConfigError(f"{name} must name each once, got '{text[:60]}' twice")
        seen[key] = text


@dataclass(frozen=True, kw_only=True)
class SynonymRule:
    """Words that stand for others: each of ``both_ways`` for the others, or ``finds`` for ``word``."""

    both_ways: tuple[str, ...] = ()
    word: str = ""
    finds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that it is one of the two forms."""
        if bool(self.both_ways) == bool(self.word or self.finds):
            raise ConfigError("a synonym must have either both_ways, or word and finds")
        if self.both_ways:
            _check_texts("both_ways", self.both_ways, at_least=2)
            return
        _check_texts("word", (self.word,))
        _check_texts("finds", self.finds)
        if normalised(self.word) in map(normalised, self.finds):
            raise ConfigError(f"finds must be other words than word, got '{self.word}' in both")


@dataclass(frozen=True, kw_only=True)
class PinRule:
    """Products that stand first in the answer to some queries, in this order."""

    queries: tuple[str, ...]
    products: tuple[str, ...]
    match: Match = "query"

    def __post_init__(self) -> None:
        """Check that both are there."""
        _check_texts("queries", self.queries)
        _check_texts("products", self.products, at_most=MOST_PINS)


@dataclass(frozen=True, kw_only=True)
class ExclusionRule:
    """Products that are no answer to some queries, or to none at all."""

    products: tuple[str, ...]
    queries: tuple[str, ...] = ()  # empty: every query
    match: Match = "query"

    def __post_init__(self) -> None:
        """Check that there are products."""
        _check_texts("queries", self.queries, at_least=0)
        _check_texts("products", self.products, at_most=MOST_PRODUCTS)


@dataclass(frozen=True, kw_only=True)
class BoostRule:
    """How much further to the front, or with a negative ``by`` to the back, products stand that pass a filter."""

    filter: dict[str, Any]
    by: float
    queries: tuple[str, ...] = ()  # empty: every query
    match: Match = "query"

    def __post_init__(self) -> None:
        """Check the range, and that the filter is what JSON can hold."""
        _check_texts("queries", self.queries, at_least=0)
        if not -1 <= self.by <= 1 or self.by == 0:
            raise ConfigError(f"by must be -1 to 1 and not 0, a difference of cosines, got {self.by}")
        try:
            json.dumps(self.filter, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"filter must be what JSON can hold, got {str(self.filter)[:60]} ({error})") from error
        if not self.filter:
            raise ConfigError("filter must hold a condition such as { brand = 'Acme' }, got an empty table")


@dataclass(frozen=True, kw_only=True)
class RedirectRule:
    """Where whoever asks some queries is sent to."""

    queries: tuple[str, ...]
    to: str
    match: Match = "query"

    def __post_init__(self) -> None:
        """Check the address."""
        _check_texts("queries", self.queries)
        begins = self.to.startswith(ADDRESSES) and not self.to.startswith(("//", "/\\"))
        if not begins or len(self.to) > ADDRESS_MAX or not self.to.isprintable() or " " in self.to:
            raise ConfigError(
                f"to must be a path or an https address without blanks, of at most {ADDRESS_MAX:,} characters, got "
                f"{self.to[:60]!r}"
            )


KINDS: dict[str, type[Any]] = {
    "synonyms": SynonymRule,
    "pins": PinRule,
    "exclusions": ExclusionRule,
    "boosts": BoostRule,
    "redirects": RedirectRule,
}


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """All rules of a file."""

    synonyms: tuple[SynonymRule, ...] = ()
    pins: tuple[PinRule, ...] = ()
    exclusions: tuple[ExclusionRule, ...] = ()
    boosts: tuple[BoostRule, ...] = ()
    redirects: tuple[RedirectRule, ...] = ()

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(len(getattr(self, each.name)) for each in fields(self))

    @cached_property
    def version(self) -> str:
        """The start of the SHA-256 over what they say: the same rules have the same version."""
        return version_of(to_table(self))

    @property
    def of_products(self) -> tuple[PinRule | ExclusionRule, ...]:
        """The rules that name products."""
        return (*self.pins, *self.exclusions)

    def counts(self) -> dict[str, int]:
        """Return how many there are of each kind that is there."""
        found = {name: len(getattr(self, name)) for name in KINDS}
        return {name: count for name, count in found.items() if count}


def version_of(table: Mapping[str, Any]) -> str:
    """Return the version of rules that are a table."""
    text = json.dumps(table, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:VERSION_LENGTH]


@dataclass(frozen=True)
class RulesFile:
    """What a file says, and a line for each fault in its form."""

    rules: RuleSet = field(default_factory=RuleSet)
    faults: tuple[str, ...] = ()


def read_rules(path: Path) -> RulesFile:
    """Return the rules of a TOML file; a rule that is wrong is a fault, and left out.

    Raises:
        DataError: If there is no such file, it is too large, or no TOML.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"rules {path} do not exist") from error
    if len(content) > FILE_MAX_BYTES:
        raise DataError(f"rules {path} must have at most {FILE_MAX_BYTES:,} bytes, got {len(content):,}")
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"rules {path} are no TOML file: {first_line(error)}") from error
    return parse_rules(table, path.name)


def parse_rules(table: Mapping[str, Any], where: str) -> RulesFile:
    """Return the rules of a table of lists of tables.

    Args:
        table: Such as TOML gives.
        where: What lines call it.
    """
    faults: list[str] = []
    found = {name: tuple(_rules(table.get(name, []), name, where, faults)) for name in KINDS}
    for name in table:
        if name not in KINDS:
            hint = nearest(name, KINDS) or f" (known: {', '.join(KINDS)})"
            faults.append(f"unknown kind of rules '{name}'{hint} ({where})")
    rules = RuleSet(**found)
    if len(rules) > MOST_RULES:
        faults.append(f"there must be at most {MOST_RULES:,} rules, got {len(rules):,} ({where})")
    return RulesFile(rules, tuple(faults))


def _rules(blocks: Any, kind: str, where: str, faults: list[str]) -> Iterator[Any]:
    if not isinstance(blocks, list):
        faults.append(f"{kind} must be written as [[{kind}]], a table each ({where})")
        return
    for number, block in enumerate(blocks, start=1):
        try:
            yield from_table(KINDS[kind], block, where=f"{kind} {number} of {where}")
        except ConfigError as error:
            faults.append(str(error))

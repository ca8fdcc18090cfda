"""The hand-written vocabularies of the sample, read from the package's TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from trident.errors import DataError, nearest

ATTRIBUTES_FILE = "attributes.toml"


@dataclass(frozen=True)
class AttributeValue:
    """One value of an attribute.

    Attributes:
        shown: What titles show.
        asked: How shoppers ask, with ``{}`` for the name of the product.
        instead: Values of the same attribute that would do as well (grade 2), such as a longer cable.
    """

    shown: tuple[str, ...]
    asked: tuple[str, ...]
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProductType:
    """What is known about one type of product; see ``vocabulary/*.toml``.

    Attributes:
        attributes: (attribute, its values) in the order of the file.
        plain: What most shoppers type; the first stands in composed queries.
        synonyms: Other names of the type, seldom or never in its titles.
        uses: What the product is for, in the shopper's words.
        substitutes: Types that serve the same need (grade 2).
        siblings: Related types that do not serve the need (grade 1).
        confused: Types that share words but not the meaning (grade 0).
        accessories: Products for the type (grade 1); the first has its own query.
        lookalikes: (department, product) that shares words but not the meaning (grade 0).
        split: The split of the type's own intent, or None to draw it.
    """

    name: str
    nouns: tuple[str, ...]
    features: tuple[str, ...]
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    plain: tuple[str, ...]
    synonyms: tuple[str, ...]
    uses: tuple[str, ...]
    misspelt: tuple[str, ...]
    substitutes: tuple[str, ...]
    siblings: tuple[str, ...]
    confused: tuple[str, ...]
    accessories: tuple[str, ...]
    lookalikes: tuple[tuple[str, str], ...]
    split: str | None = None


@dataclass(frozen=True)
class Department:
    """One department: its brands, how it words titles, and its product types.

    Attributes:
        lines: Product lines and model codes; every ``#`` becomes a digit.
        patterns: Titles with ``{brand}``, ``{line}``, ``{noun}``, ``{feature}`` and ``{attributes}``.
        paired: Whether a noun has one brand and one feature only (a book has one author and one subtitle).
        brand_queries: Wordings with ``{brand}`` and ``{name}``.
    """

    name: str
    brands: tuple[str, ...]
    lines: tuple[str, ...]
    patterns: tuple[str, ...]
    types: tuple[ProductType, ...]
    paired: bool = False
    brand_queries: tuple[str, ...] = ("{brand} {name}",)


@dataclass(frozen=True)
class Vocabulary:
    """All departments by name, in alphabetical order, and the attributes that they share."""

    departments: tuple[Department, ...]
    attributes: Mapping[str, Mapping[str, AttributeValue]]


def load_vocabulary() -> Vocabulary:
    """Return the vocabularies that come with the package.

    Raises:
        DataError: If a file names a type, a department or an attribute value that no file defines.
    """
    folder = resources.files("trident_train.data.sample") / "vocabulary"
    tables = {
        entry.name: tomllib.loads(entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    attributes = {
        attribute: {value: _attribute_value(words) for value, words in table.items()}
        for attribute, table in tables.pop(ATTRIBUTES_FILE).items()
    }
    departments = tuple(_department(tables[name]) for name in sorted(tables))
    vocabulary = Vocabulary(departments, attributes)
    check_vocabulary(vocabulary)
    return vocabulary


def check_vocabulary(vocabulary: Vocabulary) -> None:
    """Raise unless every name that a type refers to is defined, and every type once.

    Raises:
        DataError: Naming the type, the reference and the nearest defined name.
    """
    types = [product_type.name for department in vocabulary.departments for product_type in department.types]
    if len(set(types)) < len(types):
        twice = sorted({name for name in types if types.count(name) > 1})
        raise DataError(f"product types of the sample must be unique, got twice: {', '.join(twice)}")
    departments = [department.name for department in vocabulary.departments]
    values = [f"{group}.{value}" for group, table in vocabulary.attributes.items() for value in table]
    for product_type in (product_type for department in vocabulary.departments for product_type in department.types):
        named = product_type.substitutes + product_type.siblings + product_type.confused
        _require(product_type.name, "type", named, types)
        _require(product_type.name, "department", tuple(name for name, _ in product_type.lookalikes), departments)
        used = tuple(f"{group}.{value}" for group, some in product_type.attributes for value in some)
        _require(product_type.name, "attribute value", used, values)


def _require(product_type: str, kind: str, named: tuple[str, ...], known: list[str]) -> None:
    for name in named:
        if name not in known:
            raise DataError(f"{kind} '{name}' of sample type '{product_type}' is not defined{nearest(name, known)}")


def _attribute_value(words: Mapping[str, Sequence[str]]) -> AttributeValue:
    return AttributeValue(tuple(words["shown"]), tuple(words["asked"]), tuple(words.get("instead", ())))


def _department(table: Mapping[str, Any]) -> Department:
    fields = {key: _frozen(value) for key, value in table.items() if key != "types"}
    types = tuple(
        ProductType(**{key: _frozen(value) for key, value in product_type.items()}) for product_type in table["types"]
    )
    return Department(**fields, types=types)


def _frozen(value: Any) -> Any:
    """Return tables as tuples of items and arrays as tuples, all the way down."""
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value

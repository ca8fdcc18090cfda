"""The products of the sample: brands, model codes and attributes composed into titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from trident_train.data.sample.chance import seeded
from trident_train.data.sample.rows import Product
from trident_train.data.sample.words import Department, ProductType, Vocabulary

PRODUCTS_A_TYPE = 14  # enough that three values of an attribute have four or five products each
BRANDS_A_TYPE = 3
STATIONERY = "office"  # the department that makes what goes with books
FIRST_ACCESSORY_COPIES = 3  # it has its own query, so it needs several right answers
Role = Literal["main", "accessory", "lookalike"]


@dataclass(frozen=True)
class Item:
    """A product with what the judgements need to know about it.

    Attributes:
        listed_for: The type whose vocabulary it comes from.
        role: What it is to that type.
        values: Attribute to value; empty unless the role is "main".
    """

    product: Product
    listed_for: str
    role: Role
    values: Mapping[str, str]


class _Titles:
    """Titles given out so far; a second one of the same words is drawn again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def claim(self, title: str) -> bool:
        key = title.casefold()
        if key in self.seen:
            return False
        self.seen.add(key)
        return True


def build_items(vocabulary: Vocabulary, *, seed: int) -> tuple[Item, ...]:
    """Return all products, department by department; ids are numbered in that order."""
    titles = _Titles()
    drafts: list[tuple[ProductType, Role, str, str, str, str, dict[str, str]]] = []
    by_name = {department.name: department for department in vocabulary.departments}
    for department in vocabulary.departments:
        for product_type in department.types:
            rng = seeded(seed, f"products/{product_type.name}")
            for brand, title, values in _mains(department, product_type, vocabulary, titles, rng):
                drafts.append((product_type, "main", brand, title, department.name, product_type.name, values))
            maker = by_name[STATIONERY] if department.paired else department  # posters and notebooks have no author
            for number, noun in enumerate(product_type.accessories):
                for _ in range(FIRST_ACCESSORY_COPIES if number == 0 else 1):
                    brand, title = _extra(maker, noun, titles, rng)
                    drafts.append((product_type, "accessory", brand, title, maker.name, noun.lower(), {}))
            for name, noun in product_type.lookalikes:
                brand, title = _extra(by_name[name], noun, titles, rng)
                drafts.append((product_type, "lookalike", brand, title, name, noun.lower(), {}))
    return tuple(
        Item(Product(f"P{number:05d}", title, brand, department_name, type_name), product_type.name, role, values)
        for number, (product_type, role, brand, title, department_name, type_name, values) in enumerate(drafts, start=1)
    )


def _mains(
    department: Department, product_type: ProductType, vocabulary: Vocabulary, titles: _Titles, rng: Random
) -> list[tuple[str, str, dict[str, str]]]:
    """Return (brand, title, values) of the products of one type; values are spread evenly."""
    brands = rng.sample(department.brands, BRANDS_A_TYPE)
    columns = {
        name: _in_turn(values, len(product_type.nouns)) if department.paired else _spread(values, rng)
        for name, values in product_type.attributes
    }
    rows = []
    for number in range(PRODUCTS_A_TYPE):
        values = {name: column[number] for name, column in columns.items()}
        while True:
            place = number % len(product_type.nouns) if department.paired else rng.randrange(len(product_type.nouns))
            brand = brands[(place if department.paired else number) % BRANDS_A_TYPE]
            feature_place = place if department.paired else rng.randrange(len(product_type.features))
            shown = [rng.choice(vocabulary.attributes[name][value].shown) for name, value in values.items()]
            title = rng.choice(department.patterns).format(
                brand=brand,
                line=_line(department.lines, rng),
                noun=product_type.nouns[place],
                feature=product_type.features[feature_place % len(product_type.features)],
                attributes=", ".join(shown),
            )
            if titles.claim(title):
                break
        rows.append((brand, title, values))
    return rows


def _extra(department: Department, noun: str, titles: _Titles, rng: Random) -> tuple[str, str]:
    """Return (brand, title) of an accessory or a lookalike, which has no attributes."""
    while True:
        brand = rng.choice(department.brands)
        if department.paired:
            title = rng.choice((f"{noun} by {brand}, Paperback", f"{noun} ({brand})", f"{brand}: {noun}"))
        else:
            line = _line(department.lines, rng)
            title = rng.choice((f"{brand} {noun}, {line}", f"{brand} {line} {noun}", f"{noun} by {brand} - {line}"))
        if titles.claim(title):
            return brand, title


def _spread(values: Sequence[str], rng: Random) -> list[str]:
    """Return a value for every product of a type in random order, each as often as the others or once more."""
    column = [values[number % len(values)] for number in range(PRODUCTS_A_TYPE)]
    rng.shuffle(column)
    return column


def _in_turn(values: Sequence[str], nouns: int) -> list[str]:
    """Return a value for every product of a type such that no noun has one value twice (a book's formats)."""
    return [values[(number % nouns + number // nouns) % len(values)] for number in range(PRODUCTS_A_TYPE)]


def _line(lines: Sequence[str], rng: Random) -> str:
    """Return a product line or model code; ``#`` becomes a digit from 1 to 9."""
    if not lines:
        return ""
    return "".join(str(rng.randint(1, 9)) if letter == "#" else letter for letter in rng.choice(lines))

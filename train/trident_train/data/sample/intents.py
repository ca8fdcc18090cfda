"""What shoppers of the sample want, how they word it, and in which split each intent is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from trident_train.data.sample.catalogue import Item
from trident_train.data.sample.chance import seeded
from trident_train.data.sample.rows import QueryKind, Split
from trident_train.data.sample.words import Department, ProductType, Vocabulary

TEST_SHARE = 0.20  # of the queries
VALIDATION_SHARE = 0.10  # of the queries
TURNS = ((1, 2), (2, 0), (1, 3), (2, 1), (0, 1), (2, 3))  # which two wordings a type's own intent has
Want = Literal["type", "attribute", "brand", "accessory"]


@dataclass(frozen=True)
class Query:
    """One wording of an intent."""

    text: str
    kind: QueryKind


@dataclass(frozen=True)
class Intent:
    """One thing that a shopper wants.

    Attributes:
        product_type: The type it is about.
        want: The type itself, the type with one attribute value, of one brand, or its first accessory.
        detail: (attribute, value), ("brand", its name), ("accessory", its noun), or None for the type itself.
        queries: Its wordings.
        instead: Attribute values that would do as well as the one in ``detail``.
        split: A split that the vocabulary demands, or None to draw it.
    """

    product_type: ProductType
    department: Department
    want: Want
    detail: tuple[str, str] | None
    queries: tuple[Query, ...]
    instead: tuple[str, ...] = ()
    split: Split | None = None


def build_intents(vocabulary: Vocabulary, items: Sequence[Item], *, seed: int) -> list[Intent]:
    """Return all intents; no two share a query (case and white space aside)."""
    taken: set[str] = set()
    intents = []
    brands: dict[str, list[str]] = {}
    for item in items:
        if item.role == "main" and item.product.brand not in brands.setdefault(item.listed_for, []):
            brands[item.listed_for].append(item.product.brand)
    number = 0
    for department in vocabulary.departments:
        for product_type in department.types:
            rng = seeded(seed, f"intents/{product_type.name}")
            wanted = [_type_intent(department, product_type, number)]
            wanted.append(_attribute_intent(department, product_type, vocabulary, number, rng))
            if number % 4 == 2:
                wanted.append(_brand_intent(department, product_type, rng.choice(brands[product_type.name]), rng))
            if number % 8 == 5:
                wanted.append(_accessory_intent(department, product_type))
            for intent in wanted:
                queries = tuple(query for query in intent.queries if _claim(query.text, taken))
                if queries:
                    intents.append(replace(intent, queries=queries))
            number += 1
    return intents


def assign_splits(intents: Sequence[Intent], *, seed: int) -> list[Split]:
    """Return the split of every intent, 70/10/20 by number of queries; demanded splits are kept."""
    splits: list[Split | None] = [intent.split for intent in intents]
    total = sum(len(intent.queries) for intent in intents)
    counts = {
        name: sum(len(intent.queries) for intent in intents if intent.split == name) for name in ("test", "validation")
    }
    order = list(range(len(intents)))
    seeded(seed, "splits").shuffle(order)
    for place in order:
        if splits[place] is not None:
            continue
        size = len(intents[place].queries)
        if counts["test"] + size <= total * TEST_SHARE:
            splits[place] = "test"
            counts["test"] += size
        elif counts["validation"] + size <= total * VALIDATION_SHARE:
            splits[place] = "validation"
            counts["validation"] += size
        else:
            splits[place] = "train"
    return [split or "train" for split in splits]


def _type_intent(department: Department, product_type: ProductType, number: int) -> Intent:
    """Return the intent of the bare type, in two wordings by turns; in all of them where the split is demanded."""
    kinds: tuple[tuple[QueryKind, tuple[str, ...]], ...] = (
        ("plain", product_type.plain),
        ("synonym", product_type.synonyms),
        ("use", product_type.uses),
        ("misspelling", product_type.misspelt),
    )
    if product_type.split is None:
        chosen = [kinds[place] for place in TURNS[number % len(TURNS)]]
        queries = [Query(texts[number // len(TURNS) % len(texts)], kind) for kind, texts in chosen]
    else:
        queries = [Query(text, kind) for kind, texts in kinds for text in texts]
    return Intent(product_type, department, "type", None, tuple(queries), split=_as_split(product_type.split))


def _attribute_intent(
    department: Department, product_type: ProductType, vocabulary: Vocabulary, number: int, rng: Random
) -> Intent:
    """Return an intent with one attribute value, named plainly or by a synonym; every fourth has two wordings."""
    attribute, values = rng.choice(product_type.attributes)
    value = rng.choice(values)
    entry = vocabulary.attributes[attribute][value]
    asked = list(entry.asked)
    names = [product_type.plain[0], *product_type.synonyms]
    rng.shuffle(asked)
    rng.shuffle(names)
    wordings = 2 if number % 4 == 0 else 1
    texts = [form.format(name) for form, name in zip(asked, names, strict=False)][:wordings]
    queries = tuple(Query(text, "attribute") for text in texts)
    return Intent(product_type, department, "attribute", (attribute, value), queries, entry.instead)


def _brand_intent(department: Department, product_type: ProductType, brand: str, rng: Random) -> Intent:
    """Return an intent for one brand of a type."""
    name = rng.choice((product_type.plain[0], product_type.synonyms[0]))
    text = rng.choice(department.brand_queries).format(brand=brand.lower(), name=name)
    return Intent(product_type, department, "brand", ("brand", brand), (Query(text, "brand"),))


def _accessory_intent(department: Department, product_type: ProductType) -> Intent:
    """Return an intent for the first accessory, so that accessories are right answers too."""
    noun = product_type.accessories[0]
    return Intent(product_type, department, "accessory", ("accessory", noun), (Query(noun.lower(), "accessory"),))


def _as_split(name: str | None) -> Split | None:
    known: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}
    return None if name is None else known[name]


def _claim(text: str, taken: set[str]) -> bool:
    key = " ".join(text.casefold().split())
    if key in taken:
        return False
    taken.add(key)
    return True

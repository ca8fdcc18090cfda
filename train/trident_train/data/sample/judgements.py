"""Which products are judged for a query, and with which grade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from trident_train.data.sample.catalogue import Item
from trident_train.data.sample.intents import Intent
from trident_train.data.sample.rows import Grade

JUDGED_A_QUERY = 17
RIGHT_ANSWERS = 7  # at most, of the wanted type


class Shelf:
    """All products by type and role, and which types must not serve as negatives of which."""

    def __init__(self, items: Sequence[Item], intents: Iterable[Intent]) -> None:
        """Sort the products; relations between types hold both ways."""
        self.items = items
        self.mains: dict[str, list[Item]] = {}
        self.accessories: dict[str, list[Item]] = {}
        self.lookalikes: dict[str, list[Item]] = {}
        for item in items:
            shelf = {"main": self.mains, "accessory": self.accessories, "lookalike": self.lookalikes}[item.role]
            shelf.setdefault(item.listed_for, []).append(item)
        self.related: dict[str, set[str]] = {name: {name} for name in self.mains}
        for intent in intents:
            name = intent.product_type.name
            for other in intent.product_type.substitutes + intent.product_type.siblings:
                self.related[name].add(other)
                self.related[other].add(name)


def judge(intent: Intent, shelf: Shelf, rng: Random) -> list[tuple[Item, Grade]]:
    """Return the judged products of one query of an intent, each once, right answers first.

    The negatives are hard ones first: accessories, the wrong value of the attribute asked for, the words in another
    meaning, related types, the same brand's other products; the last two or so are from anywhere.
    """
    chosen: dict[str, tuple[Item, Grade]] = {}

    def take(pool: Iterable[Item], count: int, grade: Grade) -> None:
        left = [item for item in pool if item.product.product_id not in chosen]
        for item in rng.sample(left, max(0, min(count, len(left), JUDGED_A_QUERY - len(chosen)))):
            chosen[item.product.product_id] = (item, grade)

    name = intent.product_type.name
    mains = shelf.mains[name]
    accessories = _one_each(shelf.accessories[name], rng)
    siblings = _mains_of(intent.product_type.siblings, shelf.mains)
    if intent.want == "type":
        take(mains, RIGHT_ANSWERS, 3)
        take(_mains_of(intent.product_type.substitutes, shelf.mains), 2, 2)
        take(accessories, 1, 1)
        take(siblings, 1, 1)
    elif intent.want == "accessory":
        take((item for item in shelf.accessories[name] if _answers(item, intent)), RIGHT_ANSWERS, 3)
        take((item for item in accessories if not _answers(item, intent)), 2, 1)
        take(mains, 4, 1)
        take(siblings, 1, 0)
    else:
        take((item for item in mains if _answers(item, intent)), RIGHT_ANSWERS, 3)
        take((item for item in mains if _would_do(item, intent)), 2, 2)
        take((item for item in mains if not _answers(item, intent) and not _would_do(item, intent)), 2, 1)
        take(accessories, 1, 1)
        take(siblings, 1, 1)
    brands = {item.product.brand for item, grade in chosen.values() if grade == 3}
    elsewhere = [item for item in shelf.items if item.role == "main" and item.listed_for not in shelf.related[name]]
    nearby = [item for item in elsewhere if item.product.department == intent.department.name]
    size = JUDGED_A_QUERY if intent.want == "type" else JUDGED_A_QUERY - 2
    take(shelf.lookalikes[name], 2 if intent.want == "type" else 1, 0)
    take(_mains_of(intent.product_type.confused, shelf.mains), 1, 0)
    take((item for item in elsewhere if item.product.brand in brands), 1, 0)
    take(nearby, 1, 0)
    take(elsewhere, size - len(chosen), 0)
    return list(chosen.values())


def _answers(item: Item, intent: Intent) -> bool:
    """Return whether a product of the wanted type has the wanted value, brand or accessory noun."""
    if intent.detail is None:
        return True
    kind, value = intent.detail
    if intent.want == "brand":
        return item.product.brand == value
    if intent.want == "accessory":
        return item.product.product_type == value.lower()
    return item.values[kind] == value


def _would_do(item: Item, intent: Intent) -> bool:
    """Return whether a product has another value that is accepted instead of the wanted one."""
    return intent.detail is not None and item.values.get(intent.detail[0]) in intent.instead


def _mains_of(names: Sequence[str], mains: Mapping[str, list[Item]]) -> list[Item]:
    return [item for name in names for item in mains[name]]


def _one_each(accessories: Sequence[Item], rng: Random) -> list[Item]:
    """Return one product of every accessory noun."""
    order = rng.sample(accessories, len(accessories))
    return list({item.product.product_type: item for item in order}.values())

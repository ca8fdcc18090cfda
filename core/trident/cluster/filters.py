"""Our filters in the engine's words, with our meaning: ``not`` keeps products without the value, a list has any of it.

The engine has no condition that nothing passes, and an empty one is everything: what is always or never true is folded
away here, and comes back as a boolean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from trident.attributes.filters import All, AnyNode, AnyOf, InRange, Missing, Node, Not

Translated = models.Filter | bool  # True: everything passes; False: nothing


def translate(node: Node, keys: Mapping[str, str]) -> Translated:
    """Return a filter as the engine takes it.

    Args:
        node: Checked against the schema.
        keys: Where the engine has each field.
    """
    match node:
        case All(nodes):
            return _together([translate(each, keys) for each in nodes])
        case AnyNode(nodes):
            return negated(_together([negated(translate(each, keys)) for each in nodes]))
        case Not(inner):
            return negated(translate(inner, keys))
        case AnyOf(field, values) if field.type == "number":
            ranges: list[Any] = [_range(keys[field.name], value, value) for value in values]
            return models.Filter(should=ranges)
        case AnyOf(field, values) if field.type == "boolean":
            wanted: list[Any] = [_value(keys[field.name], value) for value in dict.fromkeys(values)]
            return models.Filter(should=wanted)
        case AnyOf(field, values):
            texts = models.MatchAny(any=list(dict.fromkeys(values)))
            return models.Filter(must=[models.FieldCondition(key=keys[field.name], match=texts)])
        case InRange(field, low, high, low_included, high_included):
            bounds = models.Range(
                gte=low if low_included and math.isfinite(low) else None,
                gt=None if low_included or not math.isfinite(low) else low,
                lte=high if high_included and math.isfinite(high) else None,
                lt=None if high_included or not math.isfinite(high) else high,
            )
            if bounds == models.Range():  # any number
                return negated(_missing(keys[field.name]))
            return models.Filter(must=[models.FieldCondition(key=keys[field.name], range=bounds)])
        case Missing(field):
            return _missing(keys[field.name])
    raise AssertionError(node)


def negated(found: Translated) -> Translated:
    """Return what passes where a filter does not let pass."""
    return not found if isinstance(found, bool) else models.Filter(must_not=[found])


def both(one: Translated, other: Translated) -> Translated:
    """Return what passes two filters."""
    return _together([one, other])


def _together(parts: list[Translated]) -> Translated:
    """Return what passes every one of some filters; of none, everything."""
    if any(part is False for part in parts):
        return False
    conditions: list[Any] = [part for part in parts if not isinstance(part, bool)]
    if not conditions:
        return True
    return conditions[0] if len(conditions) == 1 else models.Filter(must=conditions)


def _range(key: str, low: float, high: float) -> models.FieldCondition:
    return models.FieldCondition(key=key, range=models.Range(gte=low, lte=high))


def _value(key: str, value: bool) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _missing(key: str) -> models.Filter:
    return models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])

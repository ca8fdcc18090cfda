"""The filter language: JSON that narrows a search, checked against the schema, as a small tree.

    {"brand": ["HP", "Dell"], "price": {"gte": 100, "lt": 500}, "in_stock": true, "not": {…}, "any": [{…}, {…}]}

Several keys mean AND, a list any of its values; ``not`` is everything else, products without the value among it;
``all`` is a list of filters of which each must let a product pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trident.attributes.schema import HOLDS, Field, Schema, fits, shown
from trident.errors import DataError, nearest

FILTER = "filter"
DEEPEST = 20  # filters within filters
MOST = 2_000  # conditions
BOUNDS = ("gte", "gt", "lte", "lt")
OPERATORS = (*BOUNDS, "not", "all", "missing", "exists", "is")
EXAMPLE = '{"brand": ["HP", "Dell"], "price": {"lt": 500}}'


@dataclass(frozen=True)
class AnyOf:
    """Products that have one of some values: texts, numbers or booleans."""

    field: Field
    values: tuple[Any, ...]


@dataclass(frozen=True)
class InRange:
    """Products whose number lies within bounds."""

    field: Field
    low: float = -math.inf
    high: float = math.inf
    low_included: bool = True
    high_included: bool = True


@dataclass(frozen=True)
class Missing:
    """Products without a value."""

    field: Field


@dataclass(frozen=True)
class Not:
    """Products that a filter leaves out."""

    node: Node


@dataclass(frozen=True)
class All:
    """Products that every one of some filters lets pass; of none, all."""

    nodes: tuple[Node, ...]

    def without(self, name: str) -> All:
        """Return the filter without what it says of a field at its top."""
        return All(tuple(node for node in self.nodes if own_field(node) != name))


@dataclass(frozen=True)
class AnyNode:
    """Products that one of some filters lets pass."""

    nodes: tuple[Node, ...]


Node = AnyOf | InRange | Missing | Not | All | AnyNode


def own_field(node: Node) -> str | None:
    """Return the one field that a condition speaks of; None for a filter within the filter."""
    match node:
        case AnyOf(field) | InRange(field) | Missing(field):
            return field.name
        case Not(inner):
            return own_field(inner)
        case All(nodes) if nodes:
            names = {own_field(each) for each in nodes}
            return names.pop() if len(names) == 1 else None
        case _:
            return None


def parse_filter(value: Any, schema: Schema) -> All:
    """Return a filter as a tree.

    Args:
        value: What was JSON.
        schema: Of the products.

    Raises:
        DataError: If it is no filter; names field, type and value, and the nearest field.
    """
    reader = _Reader(schema)
    return reader.filter(value, FILTER, 1)


@dataclass
class _Reader:
    schema: Schema
    conditions: int = 0

    def filter(self, value: Any, where: str, depth: int) -> All:
        if depth > DEEPEST:
            raise DataError(f"{FILTER} must not be nested more than {DEEPEST} deep: merge what several levels say")
        if not isinstance(value, dict):
            raise DataError(f"{where} must be one JSON object such as {EXAMPLE}, got {shown(value)}")
        nodes: list[Node] = []
        for key, inner in value.items():
            self.count()
            if key == "not":
                nodes.append(Not(self.filter(inner, f"{where}.not", depth + 1)))
            elif key in ("any", "all"):
                if not isinstance(inner, list) or not inner:
                    raise DataError(f"{where}.{key} must be a list of at least one filter, got {shown(inner)}")
                found = [self.filter(each, f"{where}.{key}", depth + 1) for each in inner]
                nodes += [AnyNode(tuple(found))] if key == "any" else [node for each in found for node in each.nodes]
            else:
                nodes.append(self.condition(self.schema.field(key, where), inner, where))
        return All(tuple(nodes))

    def count(self) -> None:
        self.conditions += 1
        if self.conditions > MOST:
            raise DataError(f"{FILTER} must have at most {MOST:,} conditions, got more: name what is common to them")

    def condition(self, field: Field, value: Any, where: str) -> Node:
        if field.type == "display":
            raise DataError(
                f"{where}: {field.name} is for display only and cannot be searched: export with "
                f"--attribute {field.name}=keyword"
            )
        if isinstance(value, dict):
            return self.operators(field, value, where)
        return self.any_of(field, value, where)

    def any_of(self, field: Field, value: Any, where: str) -> AnyOf:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise DataError(f"{where}.{field.name} must name at least one value, got []: leave the field out")
        for each in values:
            self.count()
            if not fits(field, each):
                kind = HOLDS["keyword"] if field.type == "list" else HOLDS[field.type]
                hint = f'; {{"{field.name}": {{"missing": true}}}} finds what has none' if each is None else ""
                raise DataError(f"{where}: {field.name} is a {field.type} and takes {kind}, got {shown(each)}{hint}")
        return AnyOf(field, tuple(float(each) if field.type == "number" else each for each in values))

    def operators(self, field: Field, table: dict[str, Any], where: str) -> Node:
        name = f"{where}.{field.name}"
        if not table:
            raise DataError(f"{name} must hold a condition such as {', '.join(OPERATORS)}, got {{}}")
        nodes: list[Node] = []
        for operator, value in table.items():
            self.count()
            match operator:
                case "gte" | "gt" | "lte" | "lt":
                    self.bound(field, operator, value, name)
                case "not":
                    nodes.append(Not(self.any_of(field, value, where)))
                case "all":
                    if not isinstance(value, list) or field.type != "list":
                        raise DataError(f"{name}.all takes a list of values of a list, got {shown(value)}")
                    nodes += [self.any_of(field, each, where) for each in value]
                case "missing" | "exists":
                    if not isinstance(value, bool):
                        raise DataError(f"{name}.{operator} takes true or false, got {shown(value)}")
                    nodes.append(Missing(field) if value == (operator == "missing") else Not(Missing(field)))
                case "is":
                    nodes.append(self.written(field, value, where))
                case _:
                    hint = nearest(operator, OPERATORS)
                    raise DataError(f"{name} has no '{operator[:60]}'{hint}: it knows {', '.join(OPERATORS)}")
        if any(operator in table for operator in BOUNDS):
            nodes.append(_range(field, table, name))
        return nodes[0] if len(nodes) == 1 else All(tuple(nodes))

    def bound(self, field: Field, operator: str, value: Any, name: str) -> None:
        if field.type != "number":
            raise DataError(f"{name} is a {field.type}, and {operator} is for numbers, got {shown(value)}")
        if not fits(field, value):
            raise DataError(f"{name} is a number and {operator} takes a number, got {shown(value)}")

    def written(self, field: Field, value: Any, where: str) -> AnyOf:
        """Return the condition of values that are written as text, as on a command line."""
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in texts):
            raise DataError(f"{where}.{field.name}.is takes text, got {shown(value)}")
        return self.any_of(field, [READ[field.type](text) for text in texts], where)


def _range(field: Field, table: dict[str, Any], name: str) -> InRange:
    for pair in (("gte", "gt"), ("lte", "lt")):
        if all(each in table for each in pair):
            raise DataError(f"{name} must have one of {pair[0]} and {pair[1]}, got both")
    low, high = (table.get(wide, table.get(narrow)) for wide, narrow in (("gte", "gt"), ("lte", "lt")))
    included = "gte" in table or low is None, "lte" in table or high is None
    if low is not None and high is not None and (low > high or (low == high and not all(included))):
        raise DataError(
            f"{name} must be a range that holds a number, got {shown({k: table[k] for k in table if k in BOUNDS})}"
        )
    return InRange(
        field, -math.inf if low is None else float(low), math.inf if high is None else float(high), *included
    )


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


READ: dict[str, Callable[[str], Any]] = {"keyword": str, "list": str, "number": _number, "boolean": _boolean}

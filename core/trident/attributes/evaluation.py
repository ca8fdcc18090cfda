"""Which products pass a filter.

A filter begins with its narrowest condition, whose rows lie ready; the others are asked of these rows alone. A wide one
is asked of all rows at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, Rows, ValueColumn
from trident.attributes.filters import All, AnyNode, AnyOf, InRange, Missing, Node, Not
from trident.attributes.row_sets import rows_of

NARROW = 0.05  # of the products: up to this share the others of an AND are asked of its rows, else all products are
FEW = 0.005  # of the products: so many rows are sorted; more are marked and read off
Mask = NDArray[np.bool_]


def passing_rows(node: Node, attributes: Attributes) -> Rows:
    """Return the rows of the products that pass, ascending."""
    match node:
        case All(()):
            return attributes.all_rows
        case All((one,)):
            return passing_rows(one, attributes)
        case All(nodes) if any(_holds_all(each, attributes) for each in nodes):
            return passing_rows(All(tuple(each for each in nodes if not _holds_all(each, attributes))), attributes)
        case All(nodes):
            first, *others = sorted(nodes, key=lambda each: largest(each, attributes))
            if largest(first, attributes) <= NARROW * attributes.count:
                rows = passing_rows(first, attributes)
                for each in others:
                    rows = rows[_mask(each, attributes, rows)]
                return rows
        case AnyOf(field, values) if field.type != "number":
            column = attributes.values_of(field.name)
            found = [column.rows(code) for code in _codes(column, values)]
            return found[0] if len(found) == 1 else _union(found, attributes.count)
        case AnyNode(nodes) if largest(node, attributes) <= NARROW * attributes.count:
            return _union([passing_rows(each, attributes) for each in nodes], attributes.count)
        case InRange(field):
            if _holds_all(node, attributes):
                return attributes.all_rows
            low, high = _ranks(node, attributes)
            if high - low <= FEW * attributes.count:
                return np.sort(attributes.numbers_of(field.name).order[low:high])
        case Missing(field) if field.type != "number":
            column = attributes.values_of(field.name)
            return column.rows(column.missing)
    return rows_of(_mask(node, attributes, None))


def which_pass(node: Node, attributes: Attributes, rows: NDArray[Any]) -> Mask:
    """Return which of some rows, in any order, pass."""
    return _mask(node, attributes, np.asarray(rows, dtype=np.uint32))


def largest(node: Node, attributes: Attributes) -> int:
    """Return how many products pass at most, without a look at any."""
    match node:
        case All(nodes):
            return min((largest(each, attributes) for each in nodes), default=attributes.count)
        case AnyNode(nodes):
            return min(sum(largest(each, attributes) for each in nodes), attributes.count)
        case AnyOf(field, values) if field.type != "number":
            column = attributes.values_of(field.name)
            return min(sum(column.size(code) for code in _codes(column, values)), attributes.count)
        case InRange():
            low, high = _ranks(node, attributes)
            return high - low
        case Missing(field) if field.type != "number":
            column = attributes.values_of(field.name)
            return column.size(column.missing)
        case Missing(field):
            return attributes.count - attributes.numbers_of(field.name).missing
    return attributes.count


def _codes(column: ValueColumn, values: tuple[object, ...]) -> list[int]:
    found = [column.code(value) for value in dict.fromkeys(values)]
    return [code for code in found if code is not None]


def _ranks(node: InRange, attributes: Attributes) -> tuple[int, int]:
    """Return the first rank of a range and the one after its last."""
    values = attributes.numbers_of(node.field.name).sorted
    low = np.searchsorted(values, node.low, side="left" if node.low_included else "right")
    high = np.searchsorted(values, node.high, side="right" if node.high_included else "left")
    return int(low), max(int(low), int(high))


def _holds_all(node: Node, attributes: Attributes) -> bool:
    """Return whether a range has the numbers of all products, none of which is missing."""
    if not isinstance(node, InRange):
        return False
    low, high = _ranks(node, attributes)
    return high - low == attributes.count


def _union(found: list[Rows], count: int) -> Rows:
    if sum(map(len, found)) <= FEW * count:
        union: Rows = np.unique(np.concatenate([np.zeros(0, dtype=np.uint32), *found]))
        return union
    return rows_of(_marked(found, count))


def _marked(found: list[Rows], count: int) -> Mask:
    mask = np.zeros(count, dtype=bool)
    for rows in found:
        mask[rows] = True
    return mask


def _mask(node: Node, attributes: Attributes, rows: Rows | None) -> Mask:
    """Return which of some rows pass; None asks all."""
    size = attributes.count if rows is None else len(rows)
    match node:
        case All(nodes):
            mask = np.ones(size, dtype=bool)
            for each in nodes:
                mask &= _mask(each, attributes, rows)
            return mask
        case AnyNode(nodes):
            mask = np.zeros(size, dtype=bool)
            for each in nodes:
                mask |= _mask(each, attributes, rows)
            return mask
        case Not(inner):
            return ~_mask(inner, attributes, rows)
        case AnyOf(field, values) if field.type != "number":
            column = attributes.values_of(field.name)
            return _value_mask(column, _codes(column, values), attributes.count, rows)
        case AnyOf(field, values):
            ranges = tuple(InRange(field, number, number) for number in values)
            return _mask(AnyNode(ranges), attributes, rows)
        case InRange(field):
            low, high = _ranks(node, attributes)
            ranks = attributes.numbers_of(field.name).ranks
            own: Rows = ranks if rows is None else ranks[rows]
            if low:
                own = own - np.uint32(low)  # what is below wraps around
            return np.less(own, np.uint32(high - low))
        case Missing(field) if field.type != "number":
            column = attributes.values_of(field.name)
            return _value_mask(column, [column.missing], attributes.count, rows)
        case Missing(field):
            numbers = attributes.numbers_of(field.name)
            return (numbers.ranks if rows is None else numbers.ranks[rows]) >= np.uint32(numbers.missing)
    raise AssertionError(node)


def _value_mask(column: ValueColumn, codes: list[int], count: int, rows: Rows | None) -> Mask:
    if column.is_list or (rows is None and len(codes) != 1):
        everything = _marked([column.rows(code) for code in codes], count)
        return everything if rows is None else everything[rows]
    own = column.codes if rows is None else column.codes[rows]
    if len(codes) == 1:
        return np.equal(own, np.uint32(codes[0]))
    wanted = np.zeros(column.missing + 1, dtype=bool)
    wanted[codes] = True
    mask: Mask = wanted[own]
    return mask

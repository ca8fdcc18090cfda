"""Frameworks' conditions in the words of Trident's filters (docs/live-catalogue.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trident_client.errors import InvalidRequestError

RANGES = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
OPERATORS = ("==", "!=", *RANGES, "in", "not in")


def condition(field: str, operator: str, value: Any) -> dict[str, Any]:
    """Return one condition; ``!=`` and ``not in`` hold for products without the field, as the frameworks' own do.

    Args:
        field: An attribute.
        operator: One of ``OPERATORS``.
        value: None: the field is missing, or with ``!=`` is there.

    Raises:
        InvalidRequestError: If the operator is none of them, or does not fit the value.
    """
    if operator not in OPERATORS:
        raise InvalidRequestError(
            f"the operator of a filter must be {', '.join(OPERATORS)}, got {operator!r} (field {field!r})"
        )
    if operator in ("in", "not in") and not (isinstance(value, Sequence) and not isinstance(value, str)):
        raise InvalidRequestError(f"{operator!r} needs a list of values, got {value!r} (field {field!r})")
    if operator in RANGES:
        if value is None:
            raise InvalidRequestError(f"{operator!r} needs a value, got None (field {field!r})")
        return {field: {RANGES[operator]: value}}
    if value is None:
        return {field: {"missing": operator == "=="}}
    return {field: value if operator in ("==", "in") else {"not": value}}


def joined(how: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several filters as one.

    Args:
        how: ``and``, ``or``, or ``not``: unless all of them hold.
        parts: The filters.

    Raises:
        InvalidRequestError: If there is none, or another word.
    """
    if not parts:
        raise InvalidRequestError(f"{how!r} in a filter needs at least one condition, got none")
    match how.lower():
        case "and":
            return {"all": list(parts)}
        case "or":
            return {"any": list(parts)}
        case "not":
            return {"not": {"all": list(parts)}}
        case _:
            raise InvalidRequestError(f"conditions of a filter must be joined by and, or, not, got {how!r}")

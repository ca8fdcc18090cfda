"""The short form of a filter, as on a command line: ``brand=HP``, ``price<500``, ``in_stock!=false``, ``color=``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from trident.errors import ConfigError

CONDITION = re.compile(r"(?s)(.+?)\s*(!=|<=|>=|=|<|>)\s*(.*)")
BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
FORMS = "FIELD=VALUE, !=, <, <=, > or >=, or FIELD= for what has no value"


def filter_of(conditions: Sequence[str], option: str = "--where") -> dict[str, Any]:
    """Return short conditions as a filter: all of them hold; of those that name values of one field, one does.

    The server reads a value by the type of its field.

    Raises:
        ConfigError: If a condition is none, or two of one field cannot stand together.
    """
    table: dict[str, dict[str, Any]] = {}
    for text in conditions:
        found = CONDITION.fullmatch(text.strip())
        if found is None:
            raise ConfigError(f"{option} takes {FORMS}, got '{text}'")
        name, sign, value = found.groups()
        own = table.setdefault(name, {})
        if sign in BOUNDS:
            if BOUNDS[sign] in own:
                raise ConfigError(f"{option} takes {name}{sign} once, got '{text}' after another")
            own[BOUNDS[sign]] = _number(value, text, option)
        elif not value:
            own["missing"] = sign == "="
        elif sign == "=":
            own["is"] = [*own.get("is", []), value]
        else:
            own["is_not"] = [*own.get("is_not", []), value]
    found_filter: dict[str, Any] = {}
    unwanted: list[dict[str, Any]] = []
    for name, own in table.items():
        values = own.pop("is_not", [])
        if own:
            found_filter[name] = own
        unwanted += [{name: {"is": values}}] if values else []
    if unwanted:
        found_filter["not"] = unwanted[0] if len(unwanted) == 1 else {"any": unwanted}
    return found_filter


def _number(value: str, text: str, option: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ConfigError(f"{option}: a number is needed to compare with, got '{value}' in '{text}'") from error

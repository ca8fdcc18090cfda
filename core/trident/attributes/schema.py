"""Which attributes the products of a generation have, and of what type each is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trident.config import from_table
from trident.errors import ConfigError, DataError, GenerationError, nearest

FieldType = Literal["keyword", "number", "boolean", "list", "display"]
TYPES: tuple[FieldType, ...] = ("keyword", "number", "boolean", "list", "display")
SCHEMA_FILE = "attributes.json"
WORDS = ("not", "any", "all")  # of the filter language: no field is called so
HOLDS = {  # what a value of each type is in JSON
    "keyword": "a text",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list of texts",
    "display": "a text",
}
SHOWN = 60  # characters of a value in an error


@dataclass(frozen=True, kw_only=True)
class Field:
    """An attribute.

    Attributes:
        name: Of the catalogue's column.
        type: ``display`` is text that is given back and cannot be searched.
        borders: Of a number: where the ranges of its facet begin and end, unless a query says so.
    """

    name: str
    type: FieldType
    borders: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The attributes of a catalogue, in the order of its columns."""

    fields: tuple[Field, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by name."""
        return {field.name: field for field in self.fields}

    def field(self, name: Any, where: str) -> Field:
        """Return the field of a name.

        Raises:
            DataError: If there is none: names the nearest one.
        """
        if isinstance(name, str) and name in self.by_name:
            return self.by_name[name]
        if not isinstance(name, str):
            raise DataError(f"{where} must name a field, got {shown(name)}")
        known = ", ".join(self.by_name) or "none"
        raise DataError(f"{where} has no field '{name[:SHOWN]}'{nearest(name[:SHOWN], self.by_name)}: it has {known}")

    def check(self, attributes: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return a product's attributes by their types: numbers as floats, lists without what they repeat.

        None stays None, a value that is missing, and so is what is blank or an empty list, as in a catalogue's file; a
        field that is not named is not in what comes back.

        Args:
            attributes: What somebody gave.
            where: What errors call it, such as ``"upsert of 'B01'"``.

        Raises:
            DataError: Naming field, type and value, for the first that does not fit; or the nearest field.
        """
        if not isinstance(attributes, Mapping):
            raise DataError(f"{where}: attributes must be one object, got {shown(attributes)}")
        checked: dict[str, Any] = {}
        for name, value in attributes.items():
            field = self.field(name, f"{where}: the catalogue")
            checked[field.name] = None if value is None else _typed(field, value, where)
        return checked

    def save(self, path: Path) -> None:
        """Write the schema as JSON."""
        table = {"fields": [asdict(field) for field in self.fields]}
        path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Schema:
        """Read what ``save`` wrote.

        Raises:
            GenerationError: If the file is missing or damaged.
        """
        try:
            return from_table(cls, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (OSError, ValueError, ConfigError) as error:
            raise GenerationError(f"schema {path} is missing or damaged: {error}; export again") from error


def shown(value: Any) -> str:
    """Return a value as JSON, cut to what an error has room for."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def fits(field: Field, value: Any) -> bool:
    """Return whether one value, of a list one of its elements, is of a field's type."""
    match field.type:
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _typed(field: Field, value: Any, where: str) -> Any:
    if field.type == "list":
        if isinstance(value, list) and all(fits(field, each) for each in value):
            return [each for each in dict.fromkeys(value) if each.strip()] or None
    elif fits(field, value):
        return float(value) if field.type == "number" else (None if value == "" or str(value).isspace() else value)
    raise DataError(f"{where}: {field.name} is a {field.type} and takes {HOLDS[field.type]}, got {shown(value)}")

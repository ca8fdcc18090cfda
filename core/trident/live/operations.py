"""Operations on the catalogue as people send them, and the records that the log keeps of them. Pure.

A record holds the whole product after the operation, not the change: it can be replayed over a base that lacks the
product, and whether a vector is needed is decided again at each replay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from trident.attributes.schema import Schema
from trident.errors import DataError, nearest

Action = Literal["upsert", "update", "delete"]
ID_BYTES = 512
TITLE_BYTES = 8192
ATTRIBUTES_BYTES = 65536
BATCH = 1000  # operations a request
NUMBER_MAX = 2**63 - 1
KEYS = ("op", "id", "title", "attributes", "version", "untouched_after")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation, checked.

    Attributes:
        action: What to do.
        id: Of the product.
        title: Of an upsert.
        attributes: Of an upsert all of them; of an update those that change, null for what becomes missing.
        version: The shop's own; None: not said.
        untouched_after: Where the product was touched by a later number, it is left alone; None: never mind.
    """

    action: Action
    id: str
    title: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    version: int | None = None
    untouched_after: int | None = None


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product as it is after an operation; ``number`` is the operation's, 0 where none touched it."""

    title: str
    attributes: dict[str, Any]
    version: int | None = None
    number: int = 0
    at: int | None = None  # seconds since 1970 when it was written; None: nobody said


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is known of a product that was deleted."""

    version: int | None = None
    number: int = 0
    at: int | None = None


Entry = Product | Tombstone


def read_operations(text: bytes | str, schema: Schema) -> list[Operation]:
    """Return the operations of a request, a JSON list.

    Raises:
        DataError: Naming the rule, the place in the list and the product, for the first that breaks one.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"operations must be a JSON list, got what is no JSON ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"operations must be a JSON list of at least one, got {_shown(rows)}")
    if len(rows) > BATCH:
        raise DataError(f"a request must have at most {BATCH:,} operations, got {len(rows):,}: cut it up")
    operations = [_read(row, f"operation {place} of {len(rows)}", schema) for place, row in enumerate(rows, start=1)]
    seen: dict[str, int] = {}
    for place, operation in enumerate(operations, start=1):
        if (first := seen.setdefault(operation.id, place)) != place:
            raise DataError(
                f"each product must come once in a request, got '{operation.id}' as operation {first} and {place}: "
                "send the last one, or two requests"
            )
    return operations


def _read(row: Any, where: str, schema: Schema) -> Operation:
    if not isinstance(row, dict):
        raise DataError(f"{where} must be an object with op and id, got {_shown(row)}")
    for key in row:
        if key not in KEYS:
            raise DataError(f"{where} must have keys {', '.join(KEYS)}, got '{key}'{nearest(key, KEYS)}")
    action: Action = row.get("op")  # type: ignore[assignment]  # checked here
    if action not in get_args(Action):
        raise DataError(f"{where}: op must be {', '.join(get_args(Action))}, got {_shown(action)}")
    product = _text(row.get("id"), f"{where}: id", ID_BYTES)
    where = f"{where}, product '{product}'"
    title, attributes = row.get("title"), row.get("attributes")
    if action == "upsert":
        title = _text(title, f"{where}: the title of an upsert", TITLE_BYTES)
    elif title is not None:
        raise DataError(f"{where}: {action} takes no title: use upsert to change it")
    if attributes is None:
        attributes = {}
    if action == "delete" and attributes:
        raise DataError(f"{where}: delete takes no attributes")
    if action == "update" and not attributes:
        raise DataError(f"{where}: update must have attributes to change, got none")
    if not isinstance(attributes, dict):
        raise DataError(f"{where}: attributes must be an object, got {_shown(attributes)}")
    try:
        size = len(json.dumps(attributes, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: attributes must be text in Unicode, got a half of a surrogate pair") from error
    if size > ATTRIBUTES_BYTES:
        raise DataError(f"{where}: attributes must be at most {ATTRIBUTES_BYTES:,} bytes of JSON, got more")
    return Operation(
        action=action,
        id=product,
        title=title or "",
        attributes=schema.check(attributes, where),
        version=_whole(row.get("version"), f"{where}: version"),
        untouched_after=_whole(row.get("untouched_after"), f"{where}: untouched_after"),
    )


def encode_record(product: str, entry: Entry) -> bytes:
    """Return the record of a product after an operation; its number is its place in the log."""
    row: dict[str, Any] = {"id": product}
    if isinstance(entry, Product):
        row |= {"title": entry.title, "attributes": entry.attributes}
    if entry.version is not None:
        row["version"] = entry.version
    if entry.at is not None:
        row["at"] = entry.at
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decode_record(number: int, record: bytes) -> tuple[str, Entry]:
    """Return product and entry of a record with a number."""
    row = json.loads(record)
    known = {"version": row.get("version"), "number": number, "at": row.get("at")}
    if "title" in row:
        return row["id"], Product(title=row["title"], attributes=row["attributes"], **known)
    return row["id"], Tombstone(**known)


def _text(value: Any, name: str, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name} must be text that is not empty, got {_shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"{name} must be text in Unicode, got a half of a surrogate pair") from error
    if size > limit:
        raise DataError(f"{name} must be at most {limit:,} bytes, got {size:,}")
    if "\0" in value:
        raise DataError(f"{name} must have no zero character, got one in {_shown(value)}")
    return value


def _whole(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= NUMBER_MAX:
        raise DataError(f"{name} must be a whole number from 0 to {NUMBER_MAX}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 80 else text[:77] + "..."

"""Opens JSON Lines and JSON arrays of objects; values stay as they are written, whatever types stand in a column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from trident.data.opened import OpenedTable, Wanted
from trident.data.values import WrittenFloat, strings, text_of, typed
from trident.errors import DataError

HOW = 'one object a line, such as {"product_id": "1"}, or one array of objects is needed'


def open_json(data: bytes, path: Path, wanted: Wanted) -> OpenedTable:
    """Return a table whose columns are the keys of all objects, in the order in which they appear.

    Columns of the contract are text; the others keep what they are (``trident.data.values.typed``).

    Args:
        data: UTF-8: one object a line, or one array of objects.
        path: What errors name.
        wanted: Other columns are named and not kept; in those of the contract lists and objects are refused.

    Raises:
        DataError: If it is no JSON, or no rows of objects.
    """
    names: dict[str, None] = {}
    columns: dict[str, list[Any]] = {}
    count = 0
    for where, row in _of_array(data, path) if data.lstrip()[:1] == b"[" else _of_lines(data, path):
        names |= dict.fromkeys(row)
        for name, value in row.items():
            if name not in wanted:
                continue
            if isinstance(value, dict | list) and name in wanted.contract:
                raise DataError(f"column '{name}' of {path} must hold text or numbers, got {_short(value)} in {where}")
            column = columns.setdefault(name, [])
            is_text = name in wanted.contract
            column.extend([""] * (count - len(column)) if is_text else [None] * (count - len(column)))
            column.append(text_of(value) if is_text else value)
        count += 1

    if count == 1 and not wanted.contract.intersection(names):
        raise DataError(f"{path} holds one object with {', '.join(names) or 'nothing'}: {HOW}")

    def read(positions: Sequence[int]) -> pa.Table:
        made = []
        for name in [list(names)[position] for position in positions]:
            values = columns.get(name, [])
            absent = count - len(values)
            made.append(strings(values + [""] * absent) if name in wanted.contract else typed(values + [None] * absent))
        return pa.Table.from_arrays(made, names=[str(number) for number in range(len(made))])

    return OpenedTable(list(names), count, read)


def _of_lines(data: bytes, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    start, number = 0, 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line, start, number = data[start:end], end + 1, number + 1
        if not line.strip():
            continue
        try:
            row = _loads(line)
        except ValueError as error:
            reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
            raise DataError(f"{path} cannot be read as jsonl: line {number} is no JSON ({reason}); {HOW}") from error
        yield f"line {number}", _object(row, f"line {number}", path)


def _of_array(data: bytes, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = _loads(data)
    except ValueError as error:
        raise DataError(f"{path} begins as a JSON array and cannot be read as one: {error}; {HOW}") from error
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", _object(row, f"row {number}", path)


def _loads(text: bytes) -> Any:
    return json.loads(text, parse_float=WrittenFloat.of)


def _object(row: Any, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{path} must hold objects, got {_short(row)} in {where}: {HOW}")
    return row


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a value"
    return f"{kind} ({text if len(text) <= 40 else text[:37] + '...'})"

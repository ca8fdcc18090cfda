"""Attributes of a table's rows by the types that a catalogue has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from trident.attributes.inference import CONVERSIONS, UnfitError, typed_column
from trident.attributes.schema import HOLDS, FieldType, shown
from trident.errors import DataError

BLOCK_ROWS = 10_000  # that are Python objects at a time


def attributes_of_rows(table: pa.Table, types: Mapping[str, FieldType], where: object) -> Iterator[dict[str, Any]]:
    """Return the attributes of each row, None where one is missing.

    A column that the catalogue does not have has the type of its values, and is left out where none fits: whoever takes
    the attributes refuses it by name.

    Args:
        table: Of ``trident.data.tables.read_table``, without the columns of the contract.
        types: Of the catalogue's attributes, by name.
        where: What errors call the file.

    Raises:
        DataError: If a value is of another type than the catalogue's: names field, type, value and row.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for field, values in zip(table.schema, table.columns, strict=True):
        kind = types.get(field.name)
        try:
            if kind is not None:
                columns[field.name] = CONVERSIONS[kind](values)
                continue
            found = typed_column(field, values, None, where)
        except UnfitError as error:
            if kind is None:
                continue
            raise DataError(
                f"{where}: {field.name} is a {kind} and takes {HOLDS[kind]}, got {shown(error.value)} in row "
                f"{error.row + 1}: mend it"
            ) from error
        if not isinstance(found, str):
            columns[field.name] = found.values
    return _rows(columns, table.num_rows)


def _rows(columns: Mapping[str, pa.ChunkedArray], count: int) -> Iterator[dict[str, Any]]:
    for start in range(0, count, BLOCK_ROWS):
        blocks = [column.slice(start, BLOCK_ROWS).to_pylist() for column in columns.values()]
        for row in range(min(BLOCK_ROWS, count - start)):
            yield {
                name: None if block[row] in ("", []) else block[row]
                for name, block in zip(columns, blocks, strict=True)
            }

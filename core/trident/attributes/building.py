"""Writes the attributes of a catalogue: ``attributes.json``, their schema, and ``attributes.bin``, their arrays.

For N products, a field ``f`` has the arrays

    keyword, boolean    f/text, f/ends       the V different values in order, as UTF-8 and where each ends
                        f/codes              (N,) uint32, the value of each row; V where it is missing
                        f/rows, f/starts     rows of each value, ascending, and where they start; V: of no value
    list                the same, f/codes one a value; f/row_starts (N + 1,) where a row's begin
    number              f/sorted             (M,) float64, the values that are there, ascending
                        f/rows               (N,) uint32, the rows in that order; missing ones follow
                        f/ranks              (N,) uint32, where a row stands in f/rows
    display             f/text, f/ends       of each row
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trident.attributes.arrays import ArrayWriter
from trident.attributes.inference import BORDERS, Inferred, TypedColumn
from trident.attributes.schema import SCHEMA_FILE, Field, Schema

ARRAYS_FILE = "attributes.bin"
COUNT = "count"  # the array of one number, how many products there are


@dataclass(frozen=True)
class FieldLine:
    """What is told about a field that was written."""

    field: Field
    different: int  # values
    missing: int  # rows
    note: str  # smallest and largest, or the values where they are few

    def __str__(self) -> str:
        """Return it in a few words."""
        missing = f", {self.missing:,} missing" if self.missing else ""
        return f"{self.field.name} {self.field.type} ({self.note}{missing})"


def write_attributes(folder: Path, inferred: Inferred, count: int) -> list[FieldLine]:
    """Write both files and return a line a field.

    Args:
        folder: That is there.
        inferred: The columns.
        count: N, the number of products.
    """
    with ArrayWriter(folder / ARRAYS_FILE) as writer:
        writer.add(COUNT, np.array([count], dtype=np.int64))
        lines = [WRITERS[column.type](writer, column) for column in inferred.columns]
    Schema(fields=tuple(line.field for line in lines)).save(folder / SCHEMA_FILE)
    return lines


def _write_keyword(writer: ArrayWriter, column: TypedColumn) -> FieldLine:
    values = _one(column.values)
    if column.type == "boolean":
        values = pc.if_else(values, "true", "false")  # null stays null
    texts, codes = _coded(values)
    _write_texts(writer, column.name, texts)
    writer.add(f"{column.name}/codes", codes)
    rows = np.arange(len(codes), dtype=np.uint32)
    _write_rows(writer, column.name, rows, codes, len(texts))
    return _line(column, len(texts), values.null_count, texts)


def _write_list(writer: ArrayWriter, column: TypedColumn) -> FieldLine:
    values = _one(column.values)
    texts, codes = _coded(values.flatten())
    lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0), dtype=np.int64)  # (N,)
    row_starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.repeat(np.arange(len(values), dtype=np.uint32), lengths)  # (E,)
    missing = np.flatnonzero(lengths == 0).astype(np.uint32)
    _write_texts(writer, column.name, texts)
    writer.add(f"{column.name}/codes", codes)
    writer.add(f"{column.name}/row_starts", row_starts)
    with_missing = np.concatenate([codes, np.full(len(missing), len(texts), dtype=np.uint32)])
    _write_rows(writer, column.name, np.concatenate([rows, missing]), with_missing, len(texts))
    return _line(column, len(texts), len(missing), texts)


def _write_number(writer: ArrayWriter, column: TypedColumn) -> FieldLine:
    values = _one(column.values).to_numpy(zero_copy_only=False).astype(np.float64)  # (N,), NaN where it is missing
    rows = np.argsort(values, kind="stable").astype(np.uint32)  # NaN last
    ordered = values[rows]
    ordered = ordered[: len(ordered) - int(np.isnan(values).sum())]
    ranks = np.empty(len(rows), dtype=np.uint32)
    ranks[rows] = np.arange(len(rows), dtype=np.uint32)
    for name, array in (("sorted", ordered), ("rows", rows), ("ranks", ranks)):
        writer.add(f"{column.name}/{name}", array)
    field = Field(name=column.name, type="number", borders=_borders(ordered))
    note = f"{ordered[0]:g} to {ordered[-1]:g}" if len(ordered) else "no values"
    return FieldLine(field, len(np.unique(ordered)), len(values) - len(ordered), note)


def _write_display(writer: ArrayWriter, column: TypedColumn) -> FieldLine:
    values = _one(column.values)
    _write_texts(writer, column.name, values.fill_null(""))
    return FieldLine(Field(name=column.name, type="display"), 0, values.null_count, "given back, not searched")


WRITERS: dict[str, Callable[[ArrayWriter, TypedColumn], FieldLine]] = {
    "keyword": _write_keyword,
    "boolean": _write_keyword,
    "list": _write_list,
    "number": _write_number,
    "display": _write_display,
}


def _one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, whatever its size."""
    kind = pa.large_string() if pa.types.is_string(column.type) else column.type
    found = column.cast(kind).combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def _coded(values: pa.Array) -> tuple[pa.Array, NDArray[np.uint32]]:
    """Return the different values in order, and the number of each; that of a null is how many there are."""
    encoded = values.dictionary_encode()
    order = np.asarray(pc.array_sort_indices(encoded.dictionary), dtype=np.int64)
    place = np.empty(len(order) + 1, dtype=np.uint32)  # of each value, and of null
    place[order] = np.arange(len(order), dtype=np.uint32)
    place[-1] = len(order)
    numbers = np.asarray(pc.fill_null(encoded.indices, len(order)), dtype=np.int64)
    return encoded.dictionary.take(pa.array(order)), place[numbers]


def _write_texts(writer: ArrayWriter, name: str, texts: pa.Array) -> None:
    texts = pa.concat_arrays([texts.cast(pa.large_string())])  # its own buffers, from their start
    _, ends, data = texts.buffers()
    places = np.frombuffer(ends, dtype=np.int64)[: len(texts) + 1] if len(texts) else np.zeros(1, dtype=np.int64)
    text = np.frombuffer(data, dtype=np.uint8)[places[0] : places[-1]] if places[-1] else np.zeros(0, dtype=np.uint8)
    writer.add(f"{name}/text", text)
    writer.add(f"{name}/ends", places[1:] - places[0])


def _write_rows(
    writer: ArrayWriter, name: str, rows: NDArray[np.uint32], codes: NDArray[np.uint32], values: int
) -> None:
    order = np.argsort(codes, kind="stable")
    writer.add(f"{name}/rows", rows[order])
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=values + 1))])
    writer.add(f"{name}/starts", starts.astype(np.int64))


def _line(column: TypedColumn, different: int, missing: int, texts: Any) -> FieldLine:
    note = ", ".join(texts.to_pylist()) if 0 < different <= 3 else f"{different:,} values"
    return FieldLine(Field(name=column.name, type=column.type), different, missing, note if len(note) < 60 else "few")


def _borders(ordered: NDArray[np.float64]) -> tuple[float, ...]:
    """Return borders of ranges that hold about as many values each, rounded to two digits."""
    if not len(ordered):
        return ()
    places = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in BORDERS]
    rounded = sorted({float(f"{place:.1e}") for place in places})
    return tuple(border for border in rounded if ordered[0] < border <= ordered[-1])

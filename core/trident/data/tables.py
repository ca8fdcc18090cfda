"""Reads CSV, TSV, JSON and Parquet files into tables; every fault of a file is found here or below.

Files or folders of parts, plain or gzipped. The columns of the contract are text, so that a product id such as ``007``
keeps its zeros; others keep their type, and what is missing in them is null.
Rows are numbered from 1 in errors, the header not counted; lines are those of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trident.data.formats import columns_of_folders, kind_of, of_table, open_table, parts_of, with_columns
from trident.data.opened import OpenedTable, Wanted
from trident.data.reading import CATALOGUE_COLUMNS, Reading
from trident.data.values import column_text, typed_column
from trident.errors import DataError, nearest

GUESSED = {b"guessed": b"1"}  # metadata of a field: its text may stand for something else

logger = logging.getLogger(__name__)


def read_table(
    path: Path, reading: Reading, *, required: Sequence[str], known: Sequence[str], others: bool = False
) -> pa.Table:
    """Return a file, or a folder of parts, as a table; its columns carry the names of the contract, which are strings.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet`` file; the text ones may be gzipped.
        reading: The file's own column names and encoding.
        required: Names of the contract that must be there.
        known: Names of the contract that are read if they are there, required ones included.
        others: Whether all other columns are read as well: each of a type of ``trident.data.values.typed_column``,
            with ``GUESSED`` in the metadata of its field where the file itself knows no types.

    Raises:
        DataError: If the file is missing, of another kind, cannot be parsed, has no rows or lacks a column.
    """
    if not path.exists():
        raise DataError(f"file {path} does not exist")
    wanted = Wanted(frozenset(reading.columns.get(name, name) for name in known), others)
    if path.is_file():
        table = _as_contract(open_table(path, wanted, reading), path, reading, required, known, wanted)
    else:
        table = _of_parts(path, reading, required, known, wanted)
    return _with_rows(table, path)


def as_contract(
    table: pa.Table, path: Path, reading: Reading, *, required: Sequence[str], known: Sequence[str]
) -> pa.Table:
    """Return a table in memory with the contract's columns as text; see ``read_table``."""
    wanted = Wanted(frozenset(reading.columns.get(name, name) for name in known))
    return _with_rows(_as_contract(of_table(table), path, reading, required, known, wanted), path)


def require_text(table: pa.Table, column: str, path: Path) -> None:
    """Raise unless every row of a column holds more than white space.

    Raises:
        DataError: With the number of empty rows and the first of them.
    """
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table[column])), 0)
    count = pc.sum(empty).as_py() or 0
    if count:
        first = pc.index(empty, True).as_py() + 1
        rows = "1 row is" if count == 1 else f"{count:,} rows are"
        raise DataError(f"column '{column}' must not be empty: {rows}, the first is row {first} of {path}")


def _of_parts(
    folder: Path, reading: Reading, required: Sequence[str], known: Sequence[str], wanted: Wanted
) -> pa.Table:
    tables = []
    for part in parts_of(folder):
        opened = open_table(part, wanted, reading, kind=kind_of(folder))
        opened = with_columns(opened, columns_of_folders(part, folder))
        tables.append(_as_contract(opened, part, reading, required, known, wanted))
    whole = pa.concat_tables(_of_one_type(tables, known), promote_options="default")  # a part may lack an attribute
    for name in known:
        if name in whole.column_names:
            whole = whole.set_column(whole.column_names.index(name), name, whole[name].fill_null(""))
    return whole.combine_chunks()


def _of_one_type(tables: list[pa.Table], known: Sequence[str]) -> list[pa.Table]:
    """Return parts whose columns that are of several types are text in all of them."""
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(field.type)
    mixed = {name for name, found in types.items() if len(found - {pa.null()}) > 1 and name not in known}
    made = []
    for table in tables:
        for place, field in enumerate(table.schema):
            if field.name in mixed:
                text = column_text(table.column(place), field.name, "", wanted=False)
                table = table.set_column(place, pa.field(field.name, pa.string(), metadata=GUESSED), text)
        made.append(table)
    return made


def _with_rows(table: pa.Table, path: Path) -> pa.Table:
    if table.num_rows == 0:
        raise DataError(f"{path} has a header and no rows: at least one is needed")
    return table


def _as_contract(
    opened: OpenedTable, path: Path, reading: Reading, required: Sequence[str], known: Sequence[str], wanted: Wanted
) -> pa.Table:
    chosen = _positions(opened.names, path, reading, required, known)
    if opened.rows == 0:
        return pa.table({name: pa.array([], pa.string()) for name in chosen})
    nameless: list[int] = []
    if wanted.others:
        taken = set(chosen.values())
        others = {name: place for place, name in enumerate(opened.names) if place not in taken and name not in chosen}
        _refuse_twice([name for name in opened.names if name.strip()], opened.names, path)
        nameless = [place for place, name in enumerate(opened.names) if not name.strip()]
        chosen |= {name: place for name, place in others.items() if name.strip()}
    places = list(dict.fromkeys([*chosen.values(), *nameless]))
    read = opened.read(places)
    columns, metadata = {}, {}
    for name, place in chosen.items():
        column = _chunked(read.column(places.index(place)))
        is_known = name in known
        columns[name] = column_text(column, name, path, wanted=True) if is_known else typed_column(column)
        metadata[name] = GUESSED if opened.guessed and not is_known else None
    for place in nameless:
        _tell_nameless(_chunked(read.column(places.index(place))), place, path)
    schema = pa.schema([pa.field(name, column.type, metadata=metadata[name]) for name, column in columns.items()])
    return pa.table(columns, schema=schema).combine_chunks()  # one chunk, unless a column is more than 2 GiB


def _positions(
    names: Sequence[str], path: Path, reading: Reading, required: Sequence[str], known: Sequence[str]
) -> dict[str, int]:
    """Return where the columns of the contract stand in a file.

    Raises:
        DataError: If one that is required or mapped is missing, or stands there twice.
    """
    found = ", ".join(name.strip() or "(no name)" for name in names) or "none"
    for name in (*required, *reading.columns):
        column = reading.columns.get(name, name)
        if column in names:
            continue
        hint = nearest(column, [each for each in names if each.strip()])
        if name in reading.columns:
            catalogue = reading.options.catalogue_column if name in CATALOGUE_COLUMNS else ""
            remedy = f"; a column of the catalogue is mapped with {catalogue.format(name=name, column=column)}"
            raise DataError(
                f"column '{column}' is missing in {path}, where {reading.options.map_column(name, column)} looks for "
                f"it{hint}: found {found}{remedy if catalogue else ''}"
            )
        raise DataError(
            f"column '{column}' is missing in {path}{hint}: found {found}; "
            f"map it with {reading.options.map_column(name)}"
        )
    columns = {name: reading.columns.get(name, name) for name in known}
    _refuse_twice(columns.values(), names, path)
    return {name: names.index(column) for name, column in columns.items() if column in names}


def _refuse_twice(columns: Iterable[str], names: Sequence[str], path: Path) -> None:
    for column in columns:
        if names.count(column) > 1:
            raise DataError(f"column '{column}' occurs more than once in {path}: every column needs its own name")


def _tell_nameless(column: pa.ChunkedArray, place: int, path: Path) -> None:
    text = column_text(column, "", path, wanted=False)
    filled = pc.sum(pc.not_equal(pc.utf8_trim_whitespace(text), "")).as_py() or 0
    if filled:
        logger.warning("%s: column %d has no name and is left out, with %s values", path, place + 1, f"{filled:,}")


def _chunked(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])

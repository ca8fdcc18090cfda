"""Reads CSV, TSV, JSON Lines and Parquet files into tables of text; every fault of a file is found here.

Plain or gzipped. All columns are read as text, so that a product id such as ``007`` keeps its zeros. Rows are
numbered from 1 in errors, the header not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from trident.errors import DataError, nearest

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def read_table(path: Path, *, renamed: Mapping[str, str], required: Sequence[str]) -> pa.Table:
    """Return a file as a table of strings; its columns carry the names of the contract.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file; the text ones may end in ``.gz``.
        renamed: From a name of the contract (``product_title``) to the file's own name for it (``title``).
        required: Names of the contract that must be there.

    Raises:
        DataError: If the file is missing, of another kind, cannot be parsed, has no rows or lacks a column.
    """
    return as_contract(_read(path), path, renamed=renamed, required=required)


def as_contract(table: pa.Table, path: Path, *, renamed: Mapping[str, str], required: Sequence[str]) -> pa.Table:
    """Return a table with the contract's column names and text in every column; see ``read_table``."""
    for name in required:
        column = renamed.get(name, name)
        if column not in table.column_names:
            found = ", ".join(table.column_names) or "none"
            remedy = f'; map it with data.columns.{name} = "..."' if column == name else ""
            hint = nearest(column, table.column_names)
            raise DataError(f"column '{column}' is missing in {path}{hint}: found {found}{remedy}")
    if table.num_rows == 0:
        raise DataError(f"{path} has a header and no rows: at least one is needed")
    back = {column: name for name, column in renamed.items() if column in table.column_names}
    kept = [column for column in table.column_names if column in back or column not in back.values()]
    table = table.select(kept).rename_columns([back.get(column, column) for column in kept])
    return _as_strings(table, path)


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


def _read(path: Path) -> pa.Table:
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if not path.is_file():
        raise DataError(f"file {path} does not exist")
    if kind.lower() not in SUFFIXES:
        raise DataError(
            f"file {path} must end in {', '.join(SUFFIXES)} (text files may be gzipped), got '{path.suffix}'"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: a header and at least one row are needed")
    try:
        if kind == ".parquet":
            return pyarrow.parquet.read_table(path)
        if kind in DELIMITERS:
            return _read_delimited(path, DELIMITERS[kind])
        return pyarrow.json.read_json(path, parse_options=pyarrow.json.ParseOptions(newlines_in_values=False))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as {kind[1:]}: {str(error).splitlines()[0]}") from error


def _read_delimited(path: Path, delimiter: str) -> pa.Table:
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parse) as reader:  # the first block gives the names
        names = reader.schema.names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"column '{twice}' occurs more than once in {path}: every column needs its own name")
    # open_csv guesses types from the first block; here everything is text and nothing is null.
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)


def _as_strings(table: pa.Table, path: Path) -> pa.Table:
    columns = []
    for name in table.column_names:
        column = table[name]
        if not pa.types.is_string(column.type):
            try:
                column = column.cast(pa.string())
            except pa.ArrowException as error:
                raise DataError(
                    f"column '{name}' of {path} is of type {column.type}, text or numbers are needed"
                ) from error
        columns.append(column.fill_null("").combine_chunks())
    return pa.table(dict(zip(table.column_names, columns, strict=True)))

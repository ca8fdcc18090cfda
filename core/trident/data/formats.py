"""Opens a table, whatever file or folder of parts it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet

from trident.data.delimited import open_delimited
from trident.data.json_rows import open_json
from trident.data.opened import OpenedTable, Wanted
from trident.data.reading import Reading
from trident.data.text_bytes import PACKED_SUFFIXES, first_bytes, read_text_bytes
from trident.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
PARQUET = b"PAR1"


def open_table(path: Path, wanted: Wanted, reading: Reading, *, kind: str = "") -> OpenedTable:
    """Return a file as a table; its suffix says what it is, in any case, and ``.gz`` after it does not count.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet`` file; text may be packed.
        wanted: The columns that are needed.
        reading: How.
        kind: The suffix that counts where the file has none of these.

    Raises:
        DataError: If the file is of another kind, or cannot be read.
    """
    kind = kind_of(path) or kind
    if kind not in SUFFIXES:
        raise DataError(
            f"file {path} must end in {', '.join(SUFFIXES)} (text files may be gzipped), got '{path.suffix}'"
        )
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty: a header and at least one row are needed")
        if kind == ".parquet" or first_bytes(path).startswith(PARQUET):
            return _open_parquet(path)
        data = read_text_bytes(path, reading)
        if not data.strip():
            raise DataError(f"{path} is empty: a header and at least one row are needed")
        if kind in (".csv", ".tsv"):
            return open_delimited(data, path, kind, wanted, reading)
        return open_json(data, path, wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as {kind[1:]}: {str(error).splitlines()[0]}") from error


def kind_of(path: Path) -> str:
    """Return the suffix that says what a file or folder is, in lower case; empty if it has none of ``SUFFIXES``."""
    suffix = path.suffix.lower()
    if suffix in PACKED_SUFFIXES:
        suffix = Path(path.stem).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def parts_of(folder: Path) -> list[Path]:
    """Return the files of a folder of parts, as Spark writes them, in order of their names; marks and sums left out.

    Raises:
        DataError: If there are none, or several kinds.
    """
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(name.startswith(("_", ".")) for name in file.relative_to(folder).parts)
        and file.stat().st_size
    ]
    kinds = {kind_of(file) or kind_of(folder) for file in files}
    if not kinds - {""} or len(kinds) > 1:
        found = ", ".join(sorted({file.suffix or file.name for file in files})) or "nothing"
        raise DataError(
            f"folder {folder} must hold the parts of one table, all of them {' or '.join(SUFFIXES)}, got {found}: "
            "give one file instead"
        )
    return files


def columns_of_folders(part: Path, folder: Path) -> dict[str, str]:
    """Return the columns that stand in the names of the folders of a part, such as ``locale=us``."""
    names = [name.partition("=") for name in part.relative_to(folder).parts[:-1] if "=" in name]
    values = {unquote(name): unquote(value) for name, _, value in names}
    return {name: "" if value == "__HIVE_DEFAULT_PARTITION__" else value for name, value in values.items()}


def of_table(table: pa.Table) -> OpenedTable:
    """Return a table in memory."""
    return OpenedTable(table.column_names, table.num_rows, lambda positions: table.select(list(positions)))


def with_columns(opened: OpenedTable, values: Mapping[str, str]) -> OpenedTable:
    """Return a table with more columns, each of which holds one text; a column of that name is there already."""
    more = {name: value for name, value in values.items() if name not in opened.names}
    if not more:
        return opened
    names = [*opened.names, *more]

    def read(positions: Sequence[int]) -> pa.Table:
        own = [position for position in positions if position < len(opened.names)] or [0]
        table = opened.read(own)
        columns = [
            table.column(own.index(position))
            if position < len(opened.names)
            else pa.array([more[names[position]]] * table.num_rows, pa.string())
            for position in positions
        ]
        return pa.Table.from_arrays(columns, names=[str(position) for position in positions])

    return OpenedTable(names, opened.rows, read, opened.guessed)


def _open_parquet(path: Path) -> OpenedTable:
    file = pyarrow.parquet.ParquetFile(path)
    names = file.schema_arrow.names

    def read(positions: Sequence[int]) -> pa.Table:
        try:
            table = file.read(columns=[names[position] for position in positions])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from error
        found = table.column_names  # "a.b" reads b of an object a as well, and names may be equal
        places = [
            [place for place, name in enumerate(found) if name == names[position]][
                names[:position].count(names[position])
            ]
            for position in positions
        ]
        return pa.Table.from_arrays([table.column(place) for place in places], names=[str(place) for place in places])

    return OpenedTable(names, file.metadata.num_rows, read)

"""The files of an index: vectors, codes, graph, members, what they are (``index.json``), and cuts (``cuts.json``).

All arrays are NumPy's files, mapped where they are large: two processes share one copy, and of the vectors only the
rows that are compared in full are read. ``index.json`` records sizes, hashes and settings, and every one is held
against the files before anything is searched; of vectors of more than 128 MiB only the size: their hash is among those
that ``Generation.verify_files`` checks when a server starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trident.config import from_table, to_table
from trident.encoder.base_model import file_sha256
from trident.errors import ConfigError, VectorIndexError
from trident.index.codes import Codes
from trident.index.graph import Graph
from trident.index.ways import Cuts

VECTORS_FILE = "vectors.npy"
CODES_FILE = "codes.npy"
SCALES_FILE = "scales.npy"  # (2, U): scales, and what rounding lost
LOWEST_FILE = "links.npy"
UPPER_FILE = "upper.npy"
MEMBERS_FILE = "members.npy"
GRAPH_FILES = (LOWEST_FILE, UPPER_FILE)
RECORD_FILE = "index.json"
CUTS_FILE = "cuts.json"
INDEX_FORMAT = 2
HASHED_AT_LOAD_BYTES = 128 * 2**20  # of the vectors' file; a larger one is not read as a whole
NO_ROW = 2**32 - 1
REMEDY = "build the index again or restore its folder"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file as it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """The content of ``index.json``."""

    format: int  # INDEX_FORMAT
    dimension: int
    count: int  # product rows
    unique_count: int  # different vectors, whose labels are 0 to unique_count - 1
    m: int
    ef_construction: int
    ef: int | None  # default search ef
    seed: int
    has_graph: bool
    entry: int  # label where a search of the graph starts, if not in its upper layers
    upper_entry: int  # row of them; NO_ROW: there is none
    encoder_fingerprint: str
    files: dict[str, FileRecord]


@dataclass(frozen=True, eq=False)
class StoredIndex:
    """What a folder held; ``vectors`` is mapped, and so are codes and links."""

    record: IndexRecord
    cuts: Cuts
    vectors: NDArray[np.float32]
    codes: Codes
    graph: Graph | None
    label_of_row: NDArray[np.int64]


def write_index_files(
    folder: Path, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], cuts: Cuts
) -> IndexRecord:
    """Write the files and return the record.

    Each is written under another name and renamed, ``index.json`` last: a kill leaves the old index, the new one, or
    files that ``read_index_files`` refuses.

    Args:
        folder: Made if it is missing; an index already there is replaced.
        arrays: By the name of their files.
        settings: The fields of ``IndexRecord`` that the files do not tell.
        cuts: Of this machine.

    Raises:
        VectorIndexError: If a file cannot be written in full.
    """
    partial = {name: folder / f"{name}.partial" for name in (*arrays, CUTS_FILE, RECORD_FILE)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            with partial[name].open("wb") as file:
                np.save(file, array, allow_pickle=False)
        files = {
            name: FileRecord(bytes=partial[name].stat().st_size, sha256=file_sha256(partial[name])) for name in arrays
        }
        record = IndexRecord(format=INDEX_FORMAT, files=files, **settings)
        _write_json(partial[CUTS_FILE], to_table(cuts))
        _write_json(partial[RECORD_FILE], to_table(record))
        for name in GRAPH_FILES:  # of the index that is replaced
            (folder / name).unlink(missing_ok=True)
        for name, path in partial.items():
            path.replace(folder / name)
    except OSError as error:
        raise VectorIndexError(f"index cannot be written into {folder}: {error}") from error
    finally:
        for path in partial.values():
            if path.is_file():
                path.unlink()
    return record


def index_encoder(folder: Path) -> str:
    """Return the fingerprint of the encoder that made the vectors of a folder's index.

    Raises:
        VectorIndexError: If the record is missing or damaged.
    """
    return read_index_record(folder).encoder_fingerprint


def read_index_record(folder: Path) -> IndexRecord:
    """Return the record of a folder's index.

    Raises:
        VectorIndexError: If it is missing, damaged or of another format.
    """
    return read_record(folder / RECORD_FILE, IndexRecord, INDEX_FORMAT)


def read_index_files(folder: Path, *, encoder_fingerprint: str | None) -> StoredIndex:
    """Return the index of a folder, every file held against its record.

    Args:
        folder: Where ``write_index_files`` wrote.
        encoder_fingerprint: The encoder whose queries will be searched; None accepts any.

    Raises:
        VectorIndexError: If a file is missing, truncated, changed or inconsistent, or of another encoder.
    """
    record = read_index_record(folder)
    if encoder_fingerprint is not None and encoder_fingerprint != record.encoder_fingerprint:
        raise VectorIndexError(
            f"index must be of the serving encoder {encoder_fingerprint[:12]}, got one of encoder "
            f"{record.encoder_fingerprint[:12]} ({folder}): embed the catalogue and build the index again"
        )
    names = (VECTORS_FILE, CODES_FILE, SCALES_FILE, MEMBERS_FILE, *(GRAPH_FILES if record.has_graph else ()))
    for name in names:
        known = record.files.get(name)
        if known is None:
            raise VectorIndexError(f"index record {folder / RECORD_FILE} does not name {name}; {REMEDY}")
        is_hashed = name != VECTORS_FILE or known.bytes <= HASHED_AT_LOAD_BYTES
        check_file(folder / name, known.bytes, known.sha256 if is_hashed else None)
    different, dimension = record.unique_count, record.dimension
    vectors = _array(folder / VECTORS_FILE, np.float32, (different, dimension))
    scales = np.array(_array(folder / SCALES_FILE, np.float32, (2, different)))
    codes = Codes(_array(folder / CODES_FILE, np.int8, (different, -(-dimension // 64) * 64)), scales[0], scales[1])
    graph = _graph(folder, record) if record.has_graph else None
    cuts = read_record(folder / CUTS_FILE, Cuts, None)
    return StoredIndex(record, cuts, vectors, codes, graph, _members(folder / MEMBERS_FILE, record))


def read_record(path: Path, record_class: type[T], record_format: int | None) -> T:
    """Return the record of a JSON file.

    Args:
        path: The file.
        record_class: A dataclass, with a field ``format`` if that is to be checked.
        record_format: What that has to be; None: there is none.

    Raises:
        VectorIndexError: If the file is missing, damaged or of another format.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VectorIndexError(f"index record {path} cannot be read: {error.strerror}; {REMEDY}") from error
    except ValueError as error:  # broken JSON or broken UTF-8
        raise VectorIndexError(f"index record {path} is not JSON: {error}; {REMEDY}") from error
    if record_format is not None and isinstance(table, dict) and table.get("format") != record_format:
        raise VectorIndexError(
            f"index format must be {record_format}, got {table.get('format')!r} ({path}): "
            "build the index again with this version"
        )
    try:
        return from_table(record_class, table, where=str(path))
    except ConfigError as error:
        raise VectorIndexError(f"index record is damaged: {error}; {REMEDY}") from error


def check_file(path: Path, size_bytes: int, sha256: str | None) -> None:
    """Hold a file against what its record says; its hash too, unless that is None.

    Raises:
        VectorIndexError: If it is missing, or has another size or hash.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise VectorIndexError(f"index file {path} cannot be read: {error.strerror}; {REMEDY}") from error
    if size != size_bytes:
        raise VectorIndexError(f"index file {path} must have {size_bytes} bytes, got {size}; {REMEDY}")
    if sha256 is None:
        return
    digest = file_sha256(path)
    if digest != sha256:
        raise VectorIndexError(
            f"index file {path} was changed: sha256 must be {sha256[:12]}, got {digest[:12]}; {REMEDY}"
        )


def _write_json(path: Path, table: dict[str, Any]) -> None:
    path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _array(path: Path, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array, mapped; None in the shape fits any number of rows."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VectorIndexError(f"{path} is not an array: {error}; {REMEDY}") from error
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        wanted_shape = str(shape).replace("None", "any")
        raise VectorIndexError(
            f"{path} must hold {np.dtype(dtype)} of shape {wanted_shape}, "
            f"got {array.dtype} of shape {array.shape}; {REMEDY}"
        )
    return array


def _graph(folder: Path, record: IndexRecord) -> Graph:
    lowest = _array(folder / LOWEST_FILE, np.uint32, (record.unique_count, 2 * record.m))
    upper = _array(folder / UPPER_FILE, np.uint32, (None, 2 + record.m))
    if not 0 <= record.entry < record.unique_count or not (
        record.upper_entry == NO_ROW or 0 <= record.upper_entry < len(upper)
    ):
        raise VectorIndexError(
            f"a search must start inside the graph of {record.unique_count} vectors and {len(upper)} upper rows, got "
            f"label {record.entry} and row {record.upper_entry} ({folder / RECORD_FILE}); {REMEDY}"
        )
    return Graph(lowest, upper, record.entry, record.upper_entry)


def _members(path: Path, record: IndexRecord) -> NDArray[np.int64]:
    label_of_row = _array(path, np.int32, (record.count,)).astype(np.int64)
    labels = np.unique(label_of_row)
    if not np.array_equal(labels, np.arange(record.unique_count)):
        raise VectorIndexError(f"{path} must name each of {record.unique_count} vectors, got {len(labels)}; {REMEDY}")
    return label_of_row

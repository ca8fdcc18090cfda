"""The files of an index: ``index.hnsw`` (graph and vectors), ``members.npy`` and ``index.json`` (what they are).

hnswlib checks next to nothing: it writes into a full disk without a word, and reads a file with another space or
dimension than it was written with. So ``index.json`` records sizes, hashes and settings, and every one is held
against the files, and against the header of ``index.hnsw``, before anything is searched.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import hnswlib
import numpy as np
from numpy.typing import NDArray

from trident.config import from_table, to_table
from trident.encoder.base_model import file_sha256
from trident.errors import ConfigError, VectorIndexError

INDEX_FILE = "index.hnsw"
MEMBERS_FILE = "members.npy"
RECORD_FILE = "index.json"
FLAT_GRAPH_FILE = "flat.onnx"  # trident.index.flat_search
FLAT_RECORD_FILE = "flat.json"
INDEX_FORMAT = 1
SPACE: Literal["ip"] = "ip"
# offset_level0, max_elements, count, element size, label offset, data offset, max level, entry point, max_m, max_m0, m,
# level multiplier, ef_construction. Source: hnswlib 0.8.0, hnswalg.h, saveIndex.
HEADER = struct.Struct("<6QiI3QdQ")
REMEDY = "build the index again or restore its folder"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """The content of ``index.json``."""

    format: int  # INDEX_FORMAT
    space: Literal["ip"]  # inner product of unit vectors: cosine
    dimension: int
    count: int  # product rows
    unique_count: int  # different vectors, which are the labels 0 to unique_count - 1 of the graph
    m: int
    ef_construction: int
    ef: int  # default search ef
    seed: int
    encoder_fingerprint: str
    index_bytes: int
    index_sha256: str
    members_bytes: int
    members_sha256: str


@dataclass(frozen=True, eq=False)
class StoredIndex:
    """What a folder held: the record, hnswlib's graph, and the label of each product row, (N,) int64."""

    record: IndexRecord
    graph: hnswlib.Index
    label_of_row: NDArray[np.int64]


def write_index_files(
    folder: Path, graph: hnswlib.Index, label_of_row: NDArray[np.int64], settings: dict[str, Any]
) -> IndexRecord:
    """Write the three files and return the record.

    Each is written under another name and renamed, ``index.json`` last: a kill leaves the old index, the new one, or
    files that ``read_index_files`` refuses.

    Args:
        folder: Made if it is missing; an index already there is replaced.
        graph: The graph over the unique vectors.
        label_of_row: (N,) int64, the label of each product row.
        settings: The fields of ``IndexRecord`` that the files do not tell.

    Raises:
        VectorIndexError: If a file cannot be written in full.
    """
    partial = {name: folder / f"{name}.partial" for name in (INDEX_FILE, MEMBERS_FILE, RECORD_FILE)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial[INDEX_FILE].write_bytes(b"")  # hnswlib is silent about a folder that cannot be written
        graph.save_index(str(partial[INDEX_FILE]))
        written, expected = partial[INDEX_FILE].stat().st_size, graph.index_file_size()
        if written != expected:
            raise VectorIndexError(
                f"{INDEX_FILE} must be {expected} bytes, {written} were written in {folder}: free disk space"
            )
        with partial[MEMBERS_FILE].open("wb") as file:
            np.save(file, label_of_row, allow_pickle=False)
        record = IndexRecord(
            format=INDEX_FORMAT,
            space=SPACE,
            index_bytes=written,
            index_sha256=file_sha256(partial[INDEX_FILE]),
            members_bytes=partial[MEMBERS_FILE].stat().st_size,
            members_sha256=file_sha256(partial[MEMBERS_FILE]),
            **settings,
        )
        partial[RECORD_FILE].write_text(json.dumps(to_table(record), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for name in (FLAT_RECORD_FILE, FLAT_GRAPH_FILE):  # of the index that is replaced
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
    return read_record(folder / RECORD_FILE, IndexRecord, INDEX_FORMAT).encoder_fingerprint


def read_index_files(folder: Path, *, encoder_fingerprint: str | None) -> StoredIndex:
    """Return the index of a folder, every file held against its record.

    Args:
        folder: Where ``write_index_files`` wrote.
        encoder_fingerprint: The encoder whose queries will be searched; None accepts any.

    Raises:
        VectorIndexError: If a file is missing, truncated, changed or inconsistent, or of another encoder.
    """
    record = read_record(folder / RECORD_FILE, IndexRecord, INDEX_FORMAT)
    if encoder_fingerprint is not None and encoder_fingerprint != record.encoder_fingerprint:
        raise VectorIndexError(
            f"index must be of the serving encoder {encoder_fingerprint[:12]}, got one of encoder "
            f"{record.encoder_fingerprint[:12]} ({folder}): embed the catalogue and build the index again"
        )
    check_file(folder / INDEX_FILE, record.index_bytes, record.index_sha256)
    check_file(folder / MEMBERS_FILE, record.members_bytes, record.members_sha256)
    _check_header(folder / INDEX_FILE, record)
    graph = hnswlib.Index(space=record.space, dim=record.dimension)
    try:
        graph.load_index(str(folder / INDEX_FILE), max_elements=record.unique_count)
    except RuntimeError as error:
        raise VectorIndexError(f"{folder / INDEX_FILE} cannot be loaded: {error}; {REMEDY}") from error
    loaded = (graph.get_current_count(), graph.M, graph.ef_construction)
    expected = (record.unique_count, record.m, record.ef_construction)
    if loaded != expected:
        raise VectorIndexError(
            f"vectors, m and ef_construction in {folder / INDEX_FILE} must be {expected}, got {loaded}; {REMEDY}"
        )
    return StoredIndex(record, graph, _read_members(folder / MEMBERS_FILE, record))


def read_vectors(folder: Path, record: IndexRecord) -> NDArray[np.float32]:
    """Return the different vectors (U, D) by label, out of the file: hnswlib takes 30 microseconds for each.

    Args:
        folder: Of an index that ``read_index_files`` has read.
        record: What it found.
    """
    with (folder / INDEX_FILE).open("rb") as file:
        _, _, count, element, label_offset, data_offset, *_ = HEADER.unpack(file.read(HEADER.size))
        elements = np.fromfile(file, dtype=np.uint8, count=count * element).reshape(count, element)
    labels = np.ascontiguousarray(elements[:, label_offset : label_offset + 8]).view(np.uint64)[:, 0]
    vectors = np.empty((count, record.dimension), dtype=np.float32)
    vectors[labels] = np.ascontiguousarray(elements[:, data_offset:label_offset]).view(np.float32)
    return vectors


def read_record(path: Path, record_class: type[T], record_format: int) -> T:
    """Return the record of a JSON file.

    Args:
        path: The file.
        record_class: A dataclass with a field ``format``.
        record_format: What that has to be.

    Raises:
        VectorIndexError: If the file is missing, damaged or of another format.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VectorIndexError(f"index record {path} cannot be read: {error.strerror}; {REMEDY}") from error
    except ValueError as error:  # broken JSON or broken UTF-8
        raise VectorIndexError(f"index record {path} is not JSON: {error}; {REMEDY}") from error
    if isinstance(table, dict) and table.get("format") != record_format:
        raise VectorIndexError(
            f"index format must be {record_format}, got {table.get('format')!r} ({path}): "
            "build the index again with this version"
        )
    try:
        return from_table(record_class, table, where=str(path))
    except ConfigError as error:
        raise VectorIndexError(f"index record is damaged: {error}; {REMEDY}") from error


def check_file(path: Path, size_bytes: int, sha256: str) -> None:
    """Hold a file against what its record says.

    Raises:
        VectorIndexError: If it is missing, or has another size or hash.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise VectorIndexError(f"index file {path} cannot be read: {error.strerror}; {REMEDY}") from error
    if size != size_bytes:
        raise VectorIndexError(f"index file {path} must have {size_bytes} bytes, got {size}; {REMEDY}")
    digest = file_sha256(path)
    if digest != sha256:
        raise VectorIndexError(
            f"index file {path} was changed: sha256 must be {sha256[:12]}, got {digest[:12]}; {REMEDY}"
        )


def _check_header(path: Path, record: IndexRecord) -> None:
    """Hold the dimension and the count of the graph's own header against the record: hnswlib takes any dimension."""
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise VectorIndexError(f"{path} has no header of hnswlib; {REMEDY}")
    _, _, count, _, label_offset, data_offset, *_ = HEADER.unpack(head)
    got = ((label_offset - data_offset) // 4, count)
    if got != (record.dimension, record.unique_count):
        raise VectorIndexError(
            f"dimension and vectors in {path} must be {(record.dimension, record.unique_count)} "
            f"as {RECORD_FILE} says, got {got}; {REMEDY}"
        )


def _read_members(path: Path, record: IndexRecord) -> NDArray[np.int64]:
    try:
        label_of_row = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VectorIndexError(f"{path} is not an array: {error}; {REMEDY}") from error
    if label_of_row.shape != (record.count,) or label_of_row.dtype != np.int64:
        raise VectorIndexError(
            f"{path} must hold int64 of shape ({record.count},), "
            f"got {label_of_row.dtype} of shape {label_of_row.shape}; {REMEDY}"
        )
    labels = np.unique(label_of_row)
    if not np.array_equal(labels, np.arange(record.unique_count)):
        raise VectorIndexError(f"{path} must name each of {record.unique_count} vectors, got {len(labels)}; {REMEDY}")
    return np.asarray(label_of_row, dtype=np.int64)

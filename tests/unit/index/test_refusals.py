"""Each refusal of the index: bad vectors, bad queries, bad settings, damaged files."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trident.errors import ConfigError, VectorIndexError
from trident.index.exact_search import exact_search
from trident.index.index import IndexConfig, Permitted, VectorIndex

ENCODER = "ab" * 32
ROWS, DIMENSION = 60, 8
FILES = ["vectors.npy", "codes.npy", "scales.npy", "links.npy", "upper.npy", "members.npy"]


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    rows = np.random.default_rng(1).normal(size=(ROWS, DIMENSION))
    rows[50:] = rows[:10]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def index(vectors) -> VectorIndex:
    return VectorIndex.build(vectors, config=IndexConfig(m=4, ef_construction=8), encoder_fingerprint=ENCODER)


@pytest.fixture
def saved(tmp_path, index) -> Path:
    index.save(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"m": 1}, "m must be 2 to 100 links, got 1"),
        ({"m": 101}, "m must be 2 to 100 links, got 101"),
        ({"ef_construction": 31}, r"ef_construction must be >= m \(32\) to fill the links, got 31"),
        ({"ef": 0}, "ef must be >= 1, got 0"),
        ({"seed": -1}, "seed must be 0 to 2147483647, got -1"),
    ],
)
def test_settings_outside_their_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        IndexConfig(**settings)


def with_row(value: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def change(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors[[3, 7]] = value
        return vectors

    return change


BAD_VECTORS = [
    (lambda rows: rows[0], r"must be a float32 array of shape \(rows, dimension\), got float32 of shape \(8,\)"),
    (lambda rows: rows.astype(np.float64), "must be a float32 array .* got float64 of shape"),
    (with_row(np.nan), r"must be finite, got nan in row 3 of 60 \(2 such rows\), column 0"),
    (with_row(-np.inf), "must be finite, got -inf in row 3 of 60"),
    (with_row(1e30), "must have length 1, got inf in row 3 of 60"),
    (with_row(0.0), "must have length 1, got zeros only in row 3 of 60 .* has tokens"),
    (lambda rows: rows * np.float32(1.01), r"must have length 1, got 1\.01 in row 0 of 60 \(60 such rows\)"),
]


@pytest.mark.parametrize(("change", "message"), BAD_VECTORS)
def test_vectors_that_are_no_unit_rows(change, message, vectors, index):
    with pytest.raises(VectorIndexError, match=f"vectors {message}"):
        VectorIndex.build(change(vectors.copy()), config=IndexConfig(), encoder_fingerprint=ENCODER)
    with pytest.raises(VectorIndexError, match=f"queries {message}"):
        index.search(change(vectors.copy()), 3)
    with pytest.raises(VectorIndexError, match=f"vectors {message}"):
        exact_search(change(vectors.copy()), vectors, 3)
    with pytest.raises(VectorIndexError, match=f"queries {message}"):
        exact_search(vectors, change(vectors.copy()), 3)


def test_nothing_to_index(vectors):
    with pytest.raises(VectorIndexError, match="at least one vector, got none"):
        VectorIndex.build(vectors[:0], config=IndexConfig(), encoder_fingerprint=ENCODER)
    with pytest.raises(VectorIndexError, match=r"a dimension of at least 1, got shape \(60, 0\)"):
        VectorIndex.build(vectors[:, :0], config=IndexConfig(), encoder_fingerprint=ENCODER)
    with pytest.raises(VectorIndexError, match="fingerprint of its encoder, got an empty one"):
        VectorIndex.build(vectors, config=IndexConfig(), encoder_fingerprint="")
    with pytest.raises(VectorIndexError, match="threads must be >= 1, got 0"):
        VectorIndex.build(vectors, config=IndexConfig(), encoder_fingerprint=ENCODER, threads=0)


def test_searches_that_break_a_rule(index, vectors):
    with pytest.raises(VectorIndexError, match="queries must have dimension 8 as the index has, got 2"):
        index.search(np.eye(2, dtype=np.float32), 3)
    with pytest.raises(VectorIndexError, match="queries must have dimension 8 as the index has, got 2"):
        exact_search(vectors, np.eye(2, dtype=np.float32), 3)
    with pytest.raises(VectorIndexError, match="k must be >= 1, got 0"):
        index.search(vectors, 0)
    with pytest.raises(VectorIndexError, match="k must be >= 1, got -2"):
        exact_search(vectors, vectors, -2)
    with pytest.raises(VectorIndexError, match="k must be >= 1, got 0"):
        index.search_each(vectors[:2], [3, 0], [None, None])
    with pytest.raises(VectorIndexError, match="ef must be >= 1, got 0"):
        index.search_each(vectors[:2], [3, 3], [None, 0])
    with pytest.raises(VectorIndexError, match="threads must be >= 1, got -1"):
        index.search(vectors, 3, threads=-1)
    with pytest.raises(VectorIndexError, match="each query needs its k, ef and filter, got 2, 1, 2 and 2"):
        index.search_each(vectors[:2], [3], [None, None])


def test_an_index_of_another_encoder(saved):
    with pytest.raises(VectorIndexError, match="serving encoder cdcdcdcdcdcd, got one of encoder abababababab "):
        VectorIndex.load(saved, encoder_fingerprint="cd" * 32)


@pytest.mark.parametrize("name", [*FILES, "cuts.json", "index.json"])
def test_a_missing_file(name, saved):
    (saved / name).unlink()
    with pytest.raises(VectorIndexError, match=f"{re.escape(name)} cannot be read: No such file"):
        VectorIndex.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_edited_file(name, saved):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-100])
    with pytest.raises(VectorIndexError, match=f"{re.escape(name)} must have {len(content)} bytes"):
        VectorIndex.load(saved)
    (saved / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VectorIndexError, match=f"{re.escape(name)} was changed: sha256 must be"):
        VectorIndex.load(saved)


def edit_record(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**record, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "index format must be 2, got 1 .*build the index again with this version"),
        ({"dimension": 4}, r"vectors\.npy must hold float32 of shape \(50, 4\), got float32 of shape \(50, 8\)"),
        ({"unique_count": 51}, r"vectors\.npy must hold float32 of shape \(51, 8\), got float32 of shape \(50, 8\)"),
        ({"m": 5}, r"links\.npy must hold uint32 of shape \(50, 10\), got uint32 of shape \(50, 8\)"),
        ({"count": 61}, r"members\.npy must hold int32 of shape \(61,\), got int32 of shape \(60,\)"),
        ({"entry": 50}, "a search must start inside the graph of 50 vectors .* got label 50"),
        ({"upper_entry": 50}, r"a search must start inside the graph .* upper rows, got label \d+ and row 50"),
        ({"files": {}}, r"index record .*index\.json does not name vectors\.npy"),
        ({"ef": 0}, "index record in .* is damaged: ef must be >= 1, got 0"),
        ({"ef": "many"}, "index record is damaged: 'ef' must be of type int, got 'many'"),
        ({"colour": 1}, "index record is damaged: unknown key 'colour'"),
    ],
)
def test_an_edited_record(changes, message, saved):
    edit_record(saved, **changes)
    with pytest.raises(VectorIndexError, match=message):
        VectorIndex.load(saved)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_record_that_is_no_json(content, saved):
    (saved / "index.json").write_bytes(content)
    with pytest.raises(VectorIndexError, match=r"index record .* is not JSON"):
        VectorIndex.load(saved)


def test_a_record_that_is_no_table(saved):
    (saved / "index.json").write_text("[]")
    with pytest.raises(VectorIndexError, match=r"index record is damaged: .* must be a table"):
        VectorIndex.load(saved)


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put other content under a record that vouches for it: what the hashes cannot catch."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "index.json").read_text())["files"]
    files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_record(folder, files=files)


def test_vectors_that_are_cut_off_under_a_record_that_knows(saved):
    replace_file(saved, "vectors.npy", (saved / "vectors.npy").read_bytes()[:-100])
    with pytest.raises(VectorIndexError, match=r"vectors\.npy is not an array: .*; build the index again"):
        VectorIndex.load(saved)


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ({"exact_up_to": -1}, "index record is damaged: exact_up_to must be >= 0 vectors, got -1"),
        ({"graph_from": -0.5}, "index record is damaged: graph_from must be a share >= 0, got -0.5"),
        ({"gathered": 0.5}, "index record is damaged: unknown key 'gathered'"),
    ],
)
def test_cuts_that_are_damaged(cuts, message, saved):
    (saved / "cuts.json").write_text(json.dumps(cuts))
    with pytest.raises(VectorIndexError, match=message):
        VectorIndex.load(saved)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([3, 2], np.uint32), "permitted rows must ascend, got 3 before 2 at place 0: sort them, each once"),
        (np.array([1, 4, 4], np.uint32), "permitted rows must ascend, got 4 before 4 at place 1"),
        (np.array([1, 2]), r"permitted rows must be uint32 of one axis, got int64 of shape \(2,\)"),
        (np.array([[1]], np.uint32), r"permitted rows must be uint32 of one axis, got uint32 of shape \(1, 1\)"),
        (np.array([1, 60], np.uint32), "permitted rows must be below 60 as the index has, got 60: .*same generation"),
    ],
)
def test_a_filter_that_breaks_a_rule(rows, message, index, vectors):
    with pytest.raises(VectorIndexError, match=message):
        index.search(vectors[:1], 3, permitted=Permitted(rows))


def as_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype == object)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no array", "is not an array"),
        (as_npy(np.array([{}], dtype=object)), "is not an array: .*Python objects"),
        (as_npy(np.zeros(ROWS, np.int64)), r"must hold int32 of shape \(60,\), got int64"),
        (as_npy(np.zeros(ROWS, np.int32)), "must name each of 50 vectors, got 1"),
        (as_npy(np.arange(ROWS, dtype=np.int32)), "must name each of 50 vectors, got 60"),
    ],
)
def test_members_that_do_not_fit(content, message, saved):
    replace_file(saved, "members.npy", content)
    with pytest.raises(VectorIndexError, match=message):
        VectorIndex.load(saved)

"""The exact search in 8-bit integers: equal to comparing every vector, whatever batch, query and vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trident.encoder.base_model import file_sha256
from trident.errors import VectorIndexError
from trident.index import flat_search
from trident.index.index import IndexConfig, VectorIndex

ENCODER = "e" * 64
SETTINGS = IndexConfig(m=4, ef_construction=8, ef=8)


def unit_rows(seed: int, count: int, dimension: int = 32) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made(folder: Path, vectors: np.ndarray, threads: int = 1) -> VectorIndex:
    from trident_export.graphs.flat_graph import write_flat

    index = VectorIndex.build(vectors, config=SETTINGS, encoder_fingerprint=ENCODER)
    index.save(folder)
    write_flat(folder, index.different_vectors)
    loaded = VectorIndex.load(folder, flat_threads=threads)
    assert loaded.flat is not None
    assert np.array_equal(loaded.flat.vectors, index.different_vectors)
    return loaded


def near(vectors: np.ndarray, seed: int, distance: float) -> np.ndarray:
    """Return rows that lie close to given ones: no integer of 8 bits tells them apart."""
    rows = vectors + distance * unit_rows(seed, len(vectors), vectors.shape[1])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    """Twins, and 40 crowds of 50 vectors that differ by less than rounding takes away."""
    crowds = near(np.repeat(unit_rows(1, 40), 50, axis=0), 2, 1e-3)
    vectors = np.concatenate([unit_rows(0, 500), unit_rows(0, 100), crowds])
    return made(tmp_path_factory.mktemp("crowded"), vectors)


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_it_is_exact(crowded: VectorIndex, k: int) -> None:
    queries = np.concatenate([unit_rows(3, 20), near(unit_rows(1, 40), 4, 0.05), unit_rows(0, 20)])
    found, exact = crowded.search(queries, k), crowded.search_exactly(queries, k)
    assert np.array_equal(found.rows, exact.rows)
    assert np.array_equal(found.scores, exact.scores)
    assert np.array_equal(found.count, exact.count)
    by_graph = crowded.search(queries, k, ef=8)
    assert k > 10 or not np.array_equal(by_graph.rows, exact.rows)  # so that equality above says something


def test_a_crowd_that_rounding_cannot_tell_apart_is_compared_as_a_whole(tmp_path: Path) -> None:
    """600 vectors within the bound of the best: the first 128 rounded cosines are not all that may be among the 10."""
    centre = unit_rows(5, 1)
    index = made(tmp_path, np.concatenate([near(np.repeat(centre, 600, axis=0), 6, 1e-4), unit_rows(7, 400)]))
    found, exact = index.search(centre, 10), index.search_exactly(centre, 10)
    assert np.array_equal(found.rows, exact.rows)
    assert index.flat is not None
    codes = np.rint(index.different_vectors / index.flat.record.scale)
    sums = codes @ np.rint(centre[0] / np.abs(centre).max() * flat_search.QUERY_LEVELS)
    first = np.argsort(-sums, kind="stable")[:128]  # what is looked at first
    assert not set(exact.rows[0].tolist()) <= set(first.tolist())


def test_answers_do_not_depend_on_the_batch(crowded: VectorIndex) -> None:
    queries = np.concatenate([unit_rows(8, 2000), near(unit_rows(1, 40), 9, 0.01)])
    assert len(queries) * crowded.unique_count > flat_search.BLOCK_PRODUCTS  # the batch is cut
    together = crowded.search(queries, 10)
    alone = [crowded.search(query[None], 10) for query in queries]
    assert np.array_equal(together.rows, np.concatenate([each.rows for each in alone]))
    assert np.array_equal(together.scores, np.concatenate([each.scores for each in alone]))


def test_the_bound_holds(crowded: VectorIndex) -> None:
    """No cosine of integers is further from the true one than the record says; some come near enough to need it."""
    assert crowded.flat is not None
    record, vectors = crowded.flat.record, crowded.different_vectors.astype(np.float64)
    queries = unit_rows(10, 200)
    scales = np.abs(queries).max(axis=1, keepdims=True) / flat_search.QUERY_LEVELS
    rounded = (np.rint(queries / scales) * scales).astype(np.float64)
    codes = np.rint(vectors.astype(np.float32) / record.scale) * record.scale
    wrong = np.abs(rounded @ codes.T - queries.astype(np.float64) @ vectors.T).max(axis=1)
    bound = (
        np.linalg.norm(queries - rounded, axis=1) * record.largest_norm
        + np.linalg.norm(rounded, axis=1) * record.largest_residual
    )
    assert (wrong <= bound).all()
    assert wrong.max() > bound.min() / 10


def test_a_query_with_its_own_ef_is_answered_by_the_graph(crowded: VectorIndex, tmp_path: Path) -> None:
    crowded.save(tmp_path)
    graph = VectorIndex.load(tmp_path)
    assert graph.flat is None
    queries = unit_rows(11, 40)
    mixed = crowded.search_each(queries, [10] * 40, [None, 8] * 20)
    assert np.array_equal(mixed.rows[::2], crowded.search_exactly(queries[::2], 10).rows)
    assert np.array_equal(mixed.rows[1::2], graph.search(queries[1::2], 10, ef=8).rows)


def test_one_vector_and_more_threads(tmp_path: Path) -> None:
    index = made(tmp_path, np.repeat(unit_rows(12, 1), 3, axis=0), threads=2)
    found = index.search(unit_rows(12, 1), 5)
    assert found.rows.tolist() == [[0, 1, 2, -1, -1]]
    assert found.count.tolist() == [3]


def test_a_saved_index_takes_the_flat_search_of_the_old_one_away(crowded: VectorIndex, tmp_path: Path) -> None:
    made(tmp_path, unit_rows(13, 50))
    crowded.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.hnsw", "index.json", "members.npy"]


def test_damage_is_refused(tmp_path: Path) -> None:
    made(tmp_path, unit_rows(14, 50))
    graph, record = tmp_path / "flat.onnx", tmp_path / "flat.json"
    good = graph.read_bytes(), record.read_text()

    def refused(message: str) -> None:
        with pytest.raises(VectorIndexError, match=message):
            VectorIndex.load(tmp_path)
        graph.write_bytes(good[0])
        record.write_text(good[1])

    graph.write_bytes(good[0][:-1] + bytes([good[0][-1] ^ 1]))
    refused(r"flat.onnx was changed: sha256 must be \w{12}, got \w{12}; build the index again")
    graph.write_bytes(good[0][:-1])
    refused(r"flat.onnx must have \d+ bytes, got \d+; build the index again")
    graph.unlink()
    refused(r"flat.onnx cannot be read: No such file")
    table = json.loads(good[1])
    record.write_text(json.dumps({**table, "index_sha256": "0" * 64}))
    refused(r"flat.json must be of index \w{12}, got one of index 000000000000")
    record.write_text(json.dumps({**table, "format": 2}))
    refused(r"index format must be 1, got 2 \(.*flat.json\): build the index again with this version")
    record.write_text("{")
    refused(r"flat.json is not JSON: ")
    graph.write_bytes(b"no graph")
    record.write_text(json.dumps({**table, "graph_bytes": 8, "graph_sha256": file_sha256(graph)}))
    refused(r"flat search .*flat.onnx is not an ONNX graph that ONNX Runtime loads: .*; build the index again")
    assert VectorIndex.load(tmp_path).flat is not None

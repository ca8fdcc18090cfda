"""The index against brute force, its files against damage, and each refusal."""

from __future__ import annotations

import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trident_index_kernels
from numpy.typing import NDArray

from trident.errors import VectorIndexError
from trident.index.codes import encode
from trident.index.exact_search import Neighbours, exact_search, recall
from trident.index.index import IndexConfig, VectorIndex
from trident.index.ways import Cuts

ENCODER = "ab" * 32
FILES = ["vectors.npy", "codes.npy", "scales.npy", "links.npy", "upper.npy", "members.npy", "index.json"]
DIMENSION = 24


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(rows: int, *, seed: int, clusters: int = 40, noise: float = 0.5) -> NDArray[np.float32]:
    centres = np.random.default_rng(0).normal(size=(clusters, DIMENSION))
    generator = np.random.default_rng(seed)
    chosen = centres[generator.integers(0, clusters, rows)]
    return unit(chosen + noise * generator.normal(size=(rows, DIMENSION)))


def build(vectors: NDArray[np.float32], **settings: int) -> VectorIndex:
    return VectorIndex.build(vectors, config=IndexConfig(**settings), encoder_fingerprint=ENCODER)


def assert_same(left: Neighbours, right: Neighbours) -> None:
    np.testing.assert_array_equal(left.rows, right.rows)
    np.testing.assert_array_equal(left.scores, right.scores)
    np.testing.assert_array_equal(left.count, right.count)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return clustered(2000, seed=1)


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return clustered(50, seed=2)


@pytest.fixture(scope="module")
def index(vectors: NDArray[np.float32]) -> VectorIndex:
    return build(vectors)


@pytest.fixture(scope="module")
def repeated() -> NDArray[np.float32]:
    """5 vectors x 200 copies, shuffled among 300 others."""
    rows = np.concatenate([np.repeat(clustered(5, seed=3), 200, axis=0), clustered(300, seed=4)])
    return rows[np.random.default_rng(5).permutation(len(rows))]


# --- answers ---------------------------------------------------------------------------------------------------------


def test_recall_and_scores_against_brute_force(index, vectors, queries):
    found, exact = index.search(queries, 10, ef=64), exact_search(vectors, queries, 10)
    assert recall(found, exact) >= 0.99
    assert_same(index.search(queries, 10), exact)
    same = found.rows == exact.rows
    np.testing.assert_allclose(found.scores[same], exact.scores[same], atol=1e-6)
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert found.count.dtype == np.int32
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_small_ef_finds_less_and_ef_is_per_call(queries):
    vectors = clustered(2000, seed=6, clusters=1, noise=3.0)
    index, exact = build(vectors, m=2, ef_construction=4), exact_search(vectors, queries, 5)
    wide = index.search(queries, 5, ef=400)
    narrow = index.search(queries, 5, ef=5)
    assert recall(narrow, exact) < recall(wide, exact)
    assert_same(index.search(queries, 5, ef=400), wide)


def test_all_copies_of_a_product_are_found_in_row_order(repeated):
    index = build(repeated)
    originals = clustered(5, seed=3)
    for k in (50, 200, 300):
        assert_same_rows(index.search(originals, k), exact_search(repeated, originals, k), copies=min(k, 200))
    assert index.count == 1300
    assert index.unique_count == 305


def test_an_exact_search_of_the_index_is_exact_search(repeated, queries):
    index = build(repeated, m=2, ef_construction=2, ef=1)
    for asked in (queries, clustered(5, seed=3)):
        for k in (1, 10, 1300):
            found, exact = index.search_exactly(asked, k), exact_search(repeated, asked, k)
            assert recall(found, exact) == 1.0
            np.testing.assert_allclose(found.scores, exact.scores, atol=1e-6)
    padded = index.search_exactly(queries[:2], 1302)
    assert padded.count.tolist() == [1300, 1300]
    assert padded.rows[:, 1300:].tolist() == [[-1, -1]] * 2
    with pytest.raises(VectorIndexError, match="k must be >= 1, got 0"):
        index.search_exactly(queries, 0)


def test_vectors_are_those_of_their_rows(repeated):
    rows = np.array([1299, 0, 7, 0])
    np.testing.assert_array_equal(build(repeated).vectors(rows), repeated[rows])
    assert build(repeated).vectors(rows[:0]).shape == (0, DIMENSION)


def assert_same_rows(found: Neighbours, exact: Neighbours, *, copies: int) -> None:
    np.testing.assert_array_equal(found.rows[:, :copies], exact.rows[:, :copies])
    assert (np.diff(found.rows[:, :copies], axis=1) > 0).all()
    assert recall(found, exact) == 1.0


def test_signed_zeros_are_one_vector():
    plus, minus = np.array([[1.0, 0.0]], np.float32), np.array([[1.0, -0.0]], np.float32)
    index = build(np.concatenate([plus, minus]))
    assert index.unique_count == 1
    assert index.search(plus, 2).rows.tolist() == [[0, 1]]


def test_different_vectors_of_one_score_are_in_row_order():
    vectors = np.eye(6, dtype=np.float32)[[3, 1, 5, 2, 4]]
    query = np.eye(6, dtype=np.float32)[:1]  # orthogonal to all
    assert build(vectors).search(query, 3).rows.tolist() == [[0, 1, 2]]
    assert exact_search(vectors, query, 3).rows.tolist() == [[0, 1, 2]]


def test_more_than_there_is_is_padded(repeated):
    for found in (build(repeated).search(repeated[:2], 1400), exact_search(repeated, repeated[:2], 1400)):
        assert found.rows.shape == (2, 1400)
        assert found.count.tolist() == [1300, 1300]
        assert sorted(found.rows[0, :1300].tolist()) == list(range(1300))
        assert (found.rows[:, 1300:] == -1).all()
        assert np.isnan(found.scores[:, 1300:]).all()
        assert not np.isnan(found.scores[:, :1300]).any()


def test_one_vector_and_no_query():
    vector = clustered(1, seed=7)
    assert build(vector).search(vector, 3).rows.tolist() == [[0, -1, -1]]
    empty = np.empty((0, DIMENSION), np.float32)
    assert build(vector).search(empty, 3).rows.shape == (0, 3)
    assert exact_search(vector, empty, 3).rows.shape == (0, 3)


def test_scores_stay_within_one(vectors, index):
    longer = (vectors * np.float32(1.0005)).astype(np.float32)  # still of unit length within the tolerance
    assert index.search(longer, 1).scores.max() == 1.0
    assert exact_search(longer, longer, 1).scores.max() == 1.0


def test_an_answer_does_not_depend_on_its_batch(index, queries, repeated):
    for searched in (index, build(repeated)):
        together = searched.search(queries, 7)
        for row, query in enumerate(queries):
            alone = searched.search(query[None], 7)
            np.testing.assert_array_equal(alone.rows[0], together.rows[row])
            np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_threads_change_nothing_in_a_search(index, queries):
    assert_same(index.search(queries, 10, threads=2), index.search(queries, 10))


@pytest.mark.parametrize("copies", [False, True])
def test_each_row_with_its_own_k_and_ef_equals_single_calls(copies, index, queries, repeated):
    searched = build(repeated) if copies else index
    ks = [1 + number % 13 for number in range(50)]
    efs = [None if number % 3 else 4 + number for number in range(50)]
    found = searched.search_each(queries, ks, efs)
    assert found.rows.shape == (50, 13)
    for row, (k, ef) in enumerate(zip(ks, efs, strict=True)):
        alone = searched.search(queries[row : row + 1], k, ef=ef)
        np.testing.assert_array_equal(found.rows[row, :k], alone.rows[0])
        np.testing.assert_array_equal(found.scores[row, :k], alone.scores[0])
        assert (found.rows[row, k:] == -1).all()
        assert found.count[row] == k


def test_a_graph_in_pieces_is_answered_exactly():
    generator = np.random.default_rng(8)
    centres = np.repeat(generator.normal(size=(20, DIMENSION)), 50, axis=0)
    vectors = unit(centres + 1e-3 * generator.normal(size=centres.shape))
    index = build(vectors, m=2, ef_construction=2)  # walks reach too little for most of these queries
    found, exact = index.search(vectors[::50], 500, ef=500), exact_search(vectors, vectors[::50], 500)
    assert recall(found, exact) == 1.0
    alone = index.search(vectors[50:51], 500, ef=500)
    np.testing.assert_array_equal(alone.rows[0], found.rows[1])


def test_threads_with_different_ef_do_not_disturb_each_other(index, queries):
    expected = {ef: index.search(queries, 5, ef=ef) for ef in (5, 300)}
    wrong: list[int] = []

    def ask(ef: int) -> None:
        answers = [index.search(queries, 5, ef=ef) for _ in range(20)]
        wrong.extend(ef for answer in answers if not np.array_equal(answer.rows, expected[ef].rows))

    threads = [threading.Thread(target=ask, args=(ef,)) for ef in (5, 300, 5, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_recall_counts_ties_and_missing_rows():
    def answer(rows: list[int], scores: list[float]) -> Neighbours:
        return Neighbours(np.array([rows]), np.array([scores], np.float32), np.array([len(rows)], np.int32))

    exact = answer([1, 2], [0.9, 0.8])
    assert recall(answer([1, 2], [0.9, 0.8]), exact) == 1.0
    assert recall(answer([1, 7], [0.9, 0.8]), exact) == 1.0  # as good as row 2
    assert recall(answer([1, 7], [0.9, 0.7]), exact) == 0.5
    assert recall(answer([1, 1], [0.9, 0.9]), exact) == 0.5
    assert recall(answer([7], [0.1]), exact) == 0.0
    assert recall(answer([], []), answer([], [])) == 1.0
    with pytest.raises(VectorIndexError, match="at least one, got 0 found and 1 exact"):
        recall(Neighbours(exact.rows[:0], exact.scores[:0], exact.count[:0]), exact)


# --- building and files ----------------------------------------------------------------------------------------------


def test_progress_counts_product_rows(repeated):
    done: list[int] = []
    config = IndexConfig(m=4, ef_construction=8)
    vectors = np.concatenate([clustered(2500, seed=9), repeated])
    VectorIndex.build(vectors, config=config, encoder_fingerprint=ENCODER, progress=done.append)
    assert len(done) > 20
    assert sum(done) == 3800


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_builds_are_byte_identical_on_any_number_of_threads(tmp_path, vectors, threads):
    config = IndexConfig(m=6, ef_construction=40)
    for name, each in (("first", 1), ("second", threads)):
        index = VectorIndex.build(vectors, config=config, encoder_fingerprint=ENCODER, threads=each)
        index.save(tmp_path / name)
    for file in FILES:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


@pytest.mark.parametrize("instructions", trident_index_kernels.instructions())
def test_instruction_sets_build_the_same_graph(vectors, instructions):
    codes = encode(vectors[:700])
    draw = np.random.default_rng(0)
    order, levels = draw.permutation(700), draw.integers(0, 3, 700)

    def graph(name: str) -> list[Any]:
        builder = trident_index_kernels.Builder(
            codes.rows, codes.scales, order, levels, links=5, ef=30, largest_round=40, instructions=name
        )
        while builder.add_round() < 700:
            pass
        return [np.asarray(part).tolist() for part in builder.graph()]

    assert graph(instructions) == graph("plain")


def side_by_side(groups: int, copies: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Near copies one after the other, as the variants of products stand in catalogues, and a query near each group."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(groups, DIMENSION))
    variants = np.repeat(centres, copies, axis=0) + 0.01 * generator.normal(size=(groups * copies, DIMENSION))
    return unit(variants), unit(centres + 0.3 * generator.normal(size=(groups, DIMENSION)))


def test_variants_side_by_side_are_found():
    vectors, queries = side_by_side(40, 50)
    found = build(vectors, m=16, ef_construction=200).search(queries, 10, ef=64)
    assert recall(found, exact_search(vectors, queries, 10)) >= 0.995  # 0.975 where they are added in their order


def test_each_row_keeps_its_vector(tmp_path):
    vectors, _ = side_by_side(30, 40)
    index = build(vectors, m=8, ef_construction=40)
    index.save(tmp_path)
    for each in (index, VectorIndex.load(tmp_path)):
        np.testing.assert_array_equal(each.different_vectors, vectors)
        np.testing.assert_array_equal(each.search_exactly(vectors, 1).rows[:, 0], np.arange(len(vectors)))


def test_the_seed_gives_another_graph(tmp_path, vectors):
    graphs = []
    for seed in (42, 42, 43):
        build(vectors[:600], seed=seed).save(tmp_path)
        graphs.append((tmp_path / "links.npy").read_bytes())
    assert graphs[0] == graphs[1] != graphs[2]


@pytest.fixture
def saved(tmp_path, repeated) -> Path:
    build(repeated, m=8, ef_construction=40, ef=77, seed=5).save(tmp_path / "saved")
    return tmp_path / "saved"


def test_save_and_load_round_trip(saved, repeated, queries):
    assert sorted(path.name for path in saved.iterdir()) == sorted([*FILES, "cuts.json"])
    loaded = VectorIndex.load(saved, encoder_fingerprint=ENCODER)
    assert loaded.config == IndexConfig(m=8, ef_construction=40, ef=77, seed=5)
    assert (loaded.dimension, loaded.count, loaded.unique_count) == (DIMENSION, 1300, 305)
    assert loaded.encoder_fingerprint == ENCODER
    built = build(repeated, m=8, ef_construction=40, ef=77, seed=5)
    assert_same(loaded.search(queries, 20), built.search(queries, 20))
    loaded.cuts = Cuts(exact_up_to=0)
    assert_same(loaded.search(queries, 20), loaded.search(queries, 20, ef=77))


def test_saving_again_replaces_the_index(saved, vectors):
    build(vectors[:100]).save(saved)
    assert VectorIndex.load(saved).count == 100


def test_a_save_that_was_killed_is_refused(saved, vectors, tmp_path):
    build(vectors[:100]).save(tmp_path / "new")
    (tmp_path / "new" / "vectors.npy").replace(saved / "vectors.npy")  # the first rename was done, the last was not
    with pytest.raises(VectorIndexError, match=r"vectors\.npy must have \d+ bytes, got \d+"):
        VectorIndex.load(saved)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, vectors):
    (tmp_path / "file").write_text("")
    with pytest.raises(VectorIndexError, match=r"index cannot be written into .*file"):
        build(vectors[:10]).save(tmp_path / "file")


def test_a_disk_that_fills_up_is_noticed_and_cleaned(tmp_path, vectors):
    index = build(vectors[:500])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # no file grows further
    try:
        with pytest.raises(VectorIndexError, match=r"index cannot be written into .*full: .*"):
            index.save(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "full").iterdir()) == []

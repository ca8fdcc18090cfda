"""The ways that miss nothing, with filters and without, and the filtered walk: against comparing every vector."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trident_index_kernels
from numpy.typing import NDArray

from trident.index.codes import encode
from trident.index.exact_search import Neighbours, exact_search, recall
from trident.index.index import IndexConfig, Permitted, VectorIndex
from trident.index.kernels import kernels
from trident.index.ways import Cuts

ENCODER = "e" * 64
SETTINGS = IndexConfig(m=8, ef_construction=40, ef=40)
GATHERED = Cuts(exact_up_to=10**6, gathered_up_to=1.0)
MASKED = Cuts(exact_up_to=10**6, gathered_up_to=0.0)
WALKED = Cuts(exact_up_to=0, graph_from=0.0)


def unit_rows(seed: int, count: int, dimension: int = 32) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def near(vectors: NDArray[np.float32], seed: int, distance: float) -> NDArray[np.float32]:
    """Return rows that lie close to given ones: no integer of 8 bits tells them apart."""
    rows = vectors + distance * unit_rows(seed, len(vectors), vectors.shape[1])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def built(vectors: NDArray[np.float32], threads: int = 1) -> VectorIndex:
    index = VectorIndex.build(vectors, config=SETTINGS, encoder_fingerprint=ENCODER)
    return index.for_lone(threads)


def at_random(count: int, share: float, seed: int = 0) -> Permitted:
    return Permitted(np.flatnonzero(np.random.default_rng(seed).random(count) < share).astype(np.uint32))


def truth(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int, permitted: Permitted) -> Neighbours:
    """Compare every permitted vector, without an index."""
    found = exact_search(np.ascontiguousarray(vectors[permitted.rows]), queries, k)
    is_there = found.rows >= 0
    rows = np.full_like(found.rows, -1)
    rows[is_there] = permitted.rows[found.rows[is_there]]
    return Neighbours(rows, found.scores, found.count)


def assert_same(found: Neighbours, wanted: Neighbours) -> None:
    np.testing.assert_array_equal(found.rows, wanted.rows)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.count, wanted.count)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """Twins, and 40 crowds of 50 vectors that differ by less than rounding takes away."""
    crowds = near(np.repeat(unit_rows(1, 40), 50, axis=0), 2, 1e-3)
    return np.concatenate([unit_rows(0, 500), unit_rows(0, 100), crowds])


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return np.concatenate([unit_rows(3, 20), near(unit_rows(1, 40), 4, 0.05), unit_rows(0, 20)])


@pytest.fixture(scope="module")
def index(vectors: NDArray[np.float32]) -> VectorIndex:
    return built(vectors)


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_comparing_codes_is_exact_to_the_last_bit(index, vectors, queries, k, threads):
    assert_same(index.for_lone(threads).search(queries, k), exact_search(vectors, queries, k))


@pytest.mark.parametrize("dimension", [1, 7, 8, 24, 64, 130, 384, 1000])
def test_any_dimension(dimension):
    vectors, queries = unit_rows(5, 90, dimension), unit_rows(6, 9, dimension)
    index = built(vectors)
    assert_same(index.search(queries, 7), exact_search(vectors, queries, 7))
    assert recall(index.search(queries, 7, ef=90), exact_search(vectors, queries, 7)) == 1.0


@pytest.mark.parametrize("instructions", trident_index_kernels.instructions())
def test_instruction_sets_agree(instructions, vectors, queries):
    codes = encode(vectors)
    kernel = trident_index_kernels.Index(
        codes.rows, codes.scales, codes.lost, vectors, dimension=32, instructions=instructions
    )
    assert kernel.instructions == instructions
    labels, cosines = kernel.scan(queries, depth=20)
    exact = exact_search(vectors, queries, 20)
    np.testing.assert_array_equal(labels, exact.rows)
    np.testing.assert_array_equal(cosines, exact.scores)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("cuts", [GATHERED, MASKED], ids=["gathered", "masked"])
def test_filters_miss_nothing(vectors, queries, share, cuts):
    index = built(vectors)
    index.cuts = cuts
    permitted = at_random(len(vectors), share)
    for k in (1, 10, 3000):
        assert_same(index.search(queries, k, permitted=permitted), truth(vectors, queries, k, permitted))


def test_a_filter_that_leaves_nothing(index, queries):
    for cuts in (GATHERED, MASKED, WALKED):
        searched = index.for_lone(1)
        searched.cuts = cuts
        found = searched.search(queries, 5, permitted=Permitted(np.empty(0, np.uint32)))
        assert (found.rows == -1).all()
        assert np.isnan(found.scores).all()
        assert (found.count == 0).all()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_the_walk_counts_permitted_candidates(queries, share):
    vectors = np.concatenate([unit_rows(0, 600), near(np.repeat(unit_rows(1, 40), 50, axis=0), 2, 0.2)])
    index = built(vectors)
    index.cuts = WALKED
    for permitted in (at_random(len(vectors), share), Permitted(np.arange(int(share * len(vectors)), dtype=np.uint32))):
        found = index.search(queries, 10, ef=200, permitted=permitted)
        assert set(found.rows.ravel().tolist()) <= set(permitted.rows.tolist())
        assert (found.count == 10).all()
        assert recall(found, truth(vectors, queries, 10, permitted)) >= 0.97


def test_a_walk_that_would_compare_too_many_is_ended(vectors, queries, monkeypatch):
    index = built(vectors)
    index.cuts = WALKED
    monkeypatch.setattr("trident.index.search_ways.LEAST_COMPARED", 1)
    monkeypatch.setattr("trident.index.search_ways.COMPARED_EACH", 1)
    permitted = at_random(len(vectors), 0.3)
    assert_same(index.search(queries, 10, permitted=permitted), truth(vectors, queries, 10, permitted))


def test_a_walk_that_meets_few_permitted_ends_early():
    """Where what is permitted lies elsewhere it is compared at once; of what lies near a walk finds most itself."""
    vectors = unit_rows(9, 20_000, 8)
    index = built(vectors)
    index.cuts = WALKED
    query = vectors[:1] / np.linalg.norm(vectors[:1])
    by_nearness = np.argsort(-(vectors @ query[0]))
    half = {
        name: np.sort(rows).astype(np.uint32)
        for name, rows in (("near", by_nearness[:10_000]), ("away", by_nearness[10_000:]))
    }
    kernel, found = index._nearest.kernel, {}
    for name, rows in half.items():
        bitmap = np.zeros(-(-len(vectors) // 64) * 64, dtype=np.uint8)
        bitmap[rows] = 1
        bits = np.packbits(bitmap, bitorder="little").view(np.uint64)
        settings = {"depth": 10, "ef": 200, "most": 6000, "doubt": 1.0, "bitmap": bits}
        found[name] = [int(kernel.search(query, least_share=least, **settings)[2][0]) for least in (0.0, 0.25)]
        permitted = Permitted(rows)
        answer = index.search(query, 10, ef=200, permitted=permitted)
        assert recall(answer, truth(vectors, query, 10, permitted)) == 1.0
    assert found["near"] == [10, 10]
    assert found["away"][1] == -1


def test_of_equal_vectors_only_the_permitted_are_answered():
    once = unit_rows(7, 30)
    vectors = np.concatenate([once, once, once])
    index = built(vectors)
    for rows in ([35, 60, 65], [5], list(range(30, 60)), [5, 35, 65]):
        permitted = Permitted(np.array(rows, np.uint32))
        for cuts in (GATHERED, MASKED, WALKED):
            index.cuts = cuts
            assert_same(index.search(once[5:6], 4, permitted=permitted), truth(vectors, once[5:6], 4, permitted))


def test_a_catalogue_of_one_title():
    vectors = np.repeat(unit_rows(8, 1), 70, axis=0)
    index = built(vectors)
    assert index.unique_count == 1
    for cuts in (GATHERED, MASKED, WALKED):
        index.cuts = cuts
        assert index.search(vectors[:1], 80, ef=5).rows[0, :70].tolist() == list(range(70))
        permitted = Permitted(np.array([3, 69], np.uint32))
        assert index.search(vectors[:1], 3, permitted=permitted).rows.tolist() == [[3, 69, -1]]


def test_each_query_has_its_own_filter(index, vectors, queries):
    filters = [None, at_random(len(vectors), 0.1), at_random(len(vectors), 0.6, seed=1)]
    each = [filters[number % 3] for number in range(len(queries))]
    ks = [1 + number % 12 for number in range(len(queries))]
    found = index.search_each(queries, ks, [None] * len(queries), permitted=each)
    for number, (k, which) in enumerate(zip(ks, each, strict=True)):
        alone = index.search(queries[number : number + 1], k, permitted=which)
        np.testing.assert_array_equal(found.rows[number, :k], alone.rows[0])
        np.testing.assert_array_equal(found.scores[number, :k], alone.scores[0])


def test_an_exact_search_of_a_filter(index, vectors, queries):
    permitted = at_random(len(vectors), 0.4)
    index = index.for_lone(1)
    index.cuts = WALKED
    assert_same(index.search_exactly(queries, 10, permitted=permitted), truth(vectors, queries, 10, permitted))


def test_vectors_are_read_from_their_file(tmp_path, index, vectors, queries):
    index.save(tmp_path)
    loaded = VectorIndex.load(tmp_path)
    assert isinstance(loaded.different_vectors, np.memmap)
    assert_same(loaded.search(queries, 10), exact_search(vectors, queries, 10))


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "trident_index_kernels", None)
    yield
    kernels.cache_clear()


def test_kernels_of_an_earlier_version_are_not_asked(vectors, queries, monkeypatch, caplog):
    earlier = types.SimpleNamespace(Index=type("Index", (), {}))
    kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "trident_index_kernels", earlier)
    with caplog.at_level(logging.WARNING):
        found = built(vectors).search(queries, 10)
    kernels.cache_clear()
    assert "of an earlier version: every vector is compared" in caplog.text
    assert_same(found, exact_search(vectors, queries, 10))


@pytest.mark.usefixtures("without_kernels")
def test_without_the_kernels_everything_is_compared(tmp_path, vectors, queries, caplog):
    with caplog.at_level(logging.WARNING):
        index = built(vectors)
        built(vectors[:50])
    told = [record.message for record in caplog.records if "kernels are not installed" in record.message]
    assert len(told) == 1
    assert "pip install ./kernels" in told[0]
    assert not index.has_graph
    assert index.is_exact
    for each in (index, saved_and_loaded(index, tmp_path)):
        assert_same(each.search(queries, 10), exact_search(vectors, queries, 10))
        assert_same(each.search(queries, 10, ef=5), exact_search(vectors, queries, 10))
        permitted = at_random(len(vectors), 0.2)
        assert_same(each.search(queries, 10, permitted=permitted), truth(vectors, queries, 10, permitted))


def saved_and_loaded(index: VectorIndex, folder: Path) -> VectorIndex:
    index.save(folder)
    return VectorIndex.load(folder)


def test_an_index_made_with_the_kernels_is_searched_without(tmp_path, index, vectors, queries, request):
    index.save(tmp_path)
    request.getfixturevalue("without_kernels")
    assert_same(VectorIndex.load(tmp_path).search(queries, 10, ef=5), exact_search(vectors, queries, 10))


def test_vectors_of_a_large_file_are_read_and_not_mapped(tmp_path: Path) -> None:
    """Pages of a file that are mapped count as memory of the server: words ask for vectors all over it."""
    rows = unit_rows(8, 140_000, 256)  # 137 MiB
    VectorIndex.build(rows, config=SETTINGS, encoder_fingerprint=ENCODER, links=False).save(tmp_path / "index")
    index = VectorIndex.load(tmp_path / "index", encoder_fingerprint=ENCODER)
    before = resident_kib(tmp_path)
    asked = np.random.default_rng(1).integers(0, len(rows), 5000)
    np.testing.assert_array_equal(index.vectors(asked), rows[asked])
    assert index.vectors(np.zeros(0, dtype=np.int64)).shape == (0, 256)
    assert resident_kib(tmp_path) - before < 1024  # 5 MB were read
    with pytest.raises(ValueError, match="labels must be below the number of vectors"):
        index._nearest.kernel.vectors(np.array([len(rows)], dtype=np.uint32))


def resident_kib(folder: Path) -> int:
    """Return how much of the vectors below a folder is mapped and in memory."""
    own, found = False, 0
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if not line.split()[0].endswith(":"):
            own = str(folder) in line and "vectors" in line
        elif own and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found

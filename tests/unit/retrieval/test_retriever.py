"""The retriever over a real index and catalogue: the right products, padded rows, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.encoder.base_model import file_sha256
from trident.errors import DataError, GenerationError, VectorIndexError
from trident.generation.generation import Identity
from trident.index.exact_search import exact_search
from trident.index.index import IndexConfig, VectorIndex
from trident.ranking.calibration import DENSE, Calibration, ScoreMap
from trident.retrieval.options import Page
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Retriever
from trident.retrieval.tensors import EMPTY_SCORE

COUNT, DIMENSION = 60, 8
ENCODER = "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS = unit_rows(COUNT, seed=0)
QUERIES = unit_rows(5, seed=1)


def products(count: int) -> Catalogue:
    ids = [f"p{number:03d}" for number in range(count)]
    return Catalogue(ids, [f"Tee Größe {number} für Ägypten 茶" for number in range(count)], pa.table({"brand": ids}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a version folder as an export leaves it."""
    tmp_path = tmp_path / "3"
    VectorIndex.build(VECTORS, config=IndexConfig(), encoder_fingerprint=ENCODER).save(tmp_path)
    products(COUNT).save(tmp_path / CATALOGUE_FILE)
    write_attributes(tmp_path, infer(products(COUNT).attributes, {}, "products"), COUNT)
    IDENTITY.save(tmp_path)
    return tmp_path


@pytest.fixture
def retriever(folder: Path) -> Retriever:
    return Retriever.load(folder)


def test_every_number_of_an_answer_is_one_of_json(retriever: Retriever) -> None:
    """Full rows, rows that end early, rows without any product; details are JSON too."""
    knobs = [SearchKnobs(k=3), SearchKnobs(k=COUNT + 9), SearchKnobs(min_score=1.0), SearchKnobs(k=1, ef=1)]
    hits = retriever.retrieve(QUERIES[:4], knobs)
    assert np.isfinite(hits.scores).all()
    assert [row[count[0] :].tolist() for row, count in zip(hits.scores, hits.counts, strict=True)] == [
        [EMPTY_SCORE] * (COUNT + 9 - count) for count in (3, COUNT, 0, 1)
    ]
    assert hits.details.tolist() == [[b"{}"]] * 4
    assert hits.rows(1, 3, 5).tensors()["details"].tolist() == [[b"{}"]] * 2


def test_products_are_those_of_exact_search(retriever: Retriever) -> None:
    hits = retriever.retrieve(QUERIES, [SearchKnobs(k=7)] * len(QUERIES))
    exact = exact_search(VECTORS, QUERIES, 7)
    assert hits.product_ids.tolist() == [[f"p{row:03d}".encode() for row in rows] for rows in exact.rows]
    assert [title.decode() for title in hits.titles[0]] == [f"Tee Größe {row} für Ägypten 茶" for row in exact.rows[0]]
    np.testing.assert_allclose(hits.scores, exact.scores, atol=1e-6)
    assert hits.scores.dtype == np.float32
    assert hits.counts.tolist() == [[7]] * len(QUERIES)
    assert hits.counts.dtype == np.int32
    assert retriever.identity == IDENTITY


def test_a_batch_gives_each_row_what_it_gets_alone(retriever: Retriever) -> None:
    knobs = [SearchKnobs(), SearchKnobs(k=1), SearchKnobs(k=33, ef=40), SearchKnobs(ef=1), SearchKnobs(min_score=0.3)]
    together = retriever.retrieve(QUERIES, knobs)
    assert together.product_ids.shape == (5, 33)
    for row, knob in enumerate(knobs):
        alone = retriever.retrieve(QUERIES[row : row + 1], [knob])
        part = together.rows(row, row + 1, knob.k)
        assert part.product_ids.tolist() == alone.product_ids.tolist()
        assert part.titles.tolist() == alone.titles.tolist()
        np.testing.assert_array_equal(part.scores, alone.scores)
        assert part.counts.tolist() == alone.counts.tolist()


def test_rows_shorter_than_k_are_padded(retriever: Retriever) -> None:
    hits = retriever.retrieve(QUERIES[:1], [SearchKnobs(k=COUNT + 4)])
    assert hits.counts.tolist() == [[COUNT]]
    assert hits.product_ids[0, COUNT:].tolist() == hits.titles[0, COUNT:].tolist() == [b""] * 4
    assert (hits.scores[0, COUNT:] == EMPTY_SCORE).all()
    assert len(set(hits.product_ids[0, :COUNT])) == COUNT


def test_min_score_keeps_what_is_as_good_or_better(retriever: Retriever) -> None:
    everything = retriever.retrieve(QUERIES[:1], [SearchKnobs(k=COUNT)])
    border = float(everything.scores[0, 11])
    kept = retriever.retrieve(QUERIES[:1], [SearchKnobs(k=COUNT, min_score=border)])
    assert kept.counts.tolist() == [[12]]
    assert kept.product_ids[0, :12].tolist() == everything.product_ids[0, :12].tolist()
    assert set(kept.product_ids[0, 12:]) == set(kept.titles[0, 12:]) == {b""}
    assert (kept.scores[0, 12:] == EMPTY_SCORE).all()
    nothing = retriever.retrieve(QUERIES[:1], [SearchKnobs(min_score=1.0)])
    assert nothing.counts.tolist() == [[0]]
    below = retriever.retrieve(QUERIES[:1], [SearchKnobs(k=COUNT, min_score=-1.0)])
    assert below.counts.tolist() == [[COUNT]]


def test_rows_are_contiguous_as_the_server_needs_them(retriever: Retriever) -> None:
    part = retriever.retrieve(QUERIES, [SearchKnobs(k=9)] * 5).rows(1, 3, 4)
    assert part.product_ids.shape == part.scores.shape == part.titles.shape == (2, 4)
    assert part.counts.shape == (2, 1)
    assert part.product_ids.flags.c_contiguous
    assert part.scores.flags.c_contiguous


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (QUERIES[:, :4], r"embeddings must have dimension 8 as the index has, got 4"),
        (QUERIES * 2, r"embeddings must have length 1, got 2 in row 0 of 5"),
        (np.full_like(QUERIES, np.nan), r"embeddings must be finite, got nan in row 0"),
    ],
)
def test_embeddings_of_another_kind_are_refused(retriever: Retriever, embeddings: np.ndarray, message: str) -> None:
    with pytest.raises(VectorIndexError, match=message):
        retriever.check(embeddings, [])
    with pytest.raises(VectorIndexError):
        retriever.retrieve(embeddings, [SearchKnobs()] * len(embeddings))
    retriever.check(QUERIES, [SearchKnobs()] * len(QUERIES))


def test_a_catalogue_of_another_size_is_refused(folder: Path) -> None:
    products(COUNT - 1).save(folder / CATALOGUE_FILE)
    with pytest.raises(GenerationError, match=r"of generation 0123456789abcdef must have the same number .* 60 and 59"):
        Retriever.load(folder)


def test_an_index_of_another_encoder_is_refused(folder: Path) -> None:
    Identity(id=IDENTITY.id, serial=3, encoder_fingerprint="b" * 64).save(folder)
    wanted = (
        rf"generation {IDENTITY.id} \(serial 3, encoder bbbbbbbbbbbb\) must have an index of its own encoder, got one"
    )
    with pytest.raises(VectorIndexError, match=rf"{wanted} of encoder aaaaaaaaaaaa, that of no generation loaded here"):
        Retriever.load(folder)
    for serial, (generation, encoder) in enumerate({"1" * 16: ENCODER, "2" * 16: "c" * 64, "3" * 16: ENCODER}.items()):
        (folder.parent / str(serial)).mkdir()
        Identity(id=generation, serial=serial + 10, encoder_fingerprint=encoder).save(folder.parent / str(serial))
    (folder.parent / "9").mkdir()
    (folder.parent / "9" / "generation.json").write_text("{")  # damaged: another matter
    others = rf"that of generation {'1' * 16} \(serial 10\) and generation {'3' * 16} \(serial 12\) \("
    with pytest.raises(VectorIndexError, match=others):
        Retriever.load(folder)


@pytest.mark.parametrize("name", ["generation.json", "catalogue.arrow"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(GenerationError, match=rf"{name} is missing"):
        Retriever.load(folder)


def test_a_damaged_identity_is_named(folder: Path) -> None:
    (folder / "generation.json").write_text(json.dumps({"id": "x", "serial": 1}), encoding="utf-8")
    with pytest.raises(GenerationError, match=r"generation\.json is damaged"):
        Retriever.load(folder)


COSINES = ScoreMap(kind="platt", first=6.0, offset=-1.0)


@pytest.fixture
def calibrated(folder: Path) -> Retriever:
    """Return the retriever of a generation that knows what its scores mean."""
    sha256 = file_sha256(Calibration(maps={DENSE: COSINES}).save(folder))
    replace(IDENTITY, calibration=sha256).save(folder)
    return Retriever.load(folder)


def test_each_product_has_its_probability(calibrated: Retriever) -> None:
    hits = calibrated.retrieve(QUERIES, [SearchKnobs(k=3), *[SearchKnobs(k=7)] * 3, SearchKnobs(min_score=1.0)])
    for row, count in enumerate(hits.counts[:, 0].tolist()):
        expected = COSINES.probability(hits.scores[row, :count])
        assert json.loads(hits.details[row, 0])["probability"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert hits.counts[:, 0].tolist() == [3, 7, 7, 7, 0]


def test_the_smallest_probability_leaves_out_exactly_those_below_it(calibrated: Retriever) -> None:
    everything = calibrated.retrieve(QUERIES, [SearchKnobs(k=COUNT)] * 5)
    chances = COSINES.probability(everything.scores)
    least = float(chances[2, 9])  # that of a product: it stays
    knobs = [SearchKnobs(k=COUNT, min_probability=least, min_score=score) for score in (None, -0.5, 0.9, None, 1.0)]
    found = calibrated.retrieve(QUERIES, knobs)
    for row, knob in enumerate(knobs):
        kept = (chances[row] >= least) & (everything.scores[row] >= (knob.min_score or -1.0))
        assert found.product_ids[row, : found.counts[row, 0]].tolist() == everything.product_ids[row, kept].tolist()
    page = replace(knobs[2], min_score=None, page=Page(filter=None, offset=4))
    cut = calibrated.retrieve(QUERIES[2:3], [page])
    assert cut.product_ids[0, : cut.counts[0, 0]].tolist() == everything.product_ids[2, 4:10].tolist()
    assert len(json.loads(cut.details[0, 0])["probability"]) == 6


def test_probabilities_that_nobody_knows_are_refused(retriever: Retriever) -> None:
    with pytest.raises(DataError, match="min_probability needs a calibration, and generation 0123456789abcdef has non"):
        retriever.retrieve(QUERIES[:1], [SearchKnobs(min_probability=0.0)])


def test_a_generation_without_its_calibration_is_refused(calibrated: Retriever, folder: Path) -> None:
    (folder / "calibration.json").unlink()
    with pytest.raises(GenerationError, match="is missing, which the generation has: export again"):
        Retriever.load(folder)

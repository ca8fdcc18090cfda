"""A generation searched without a server: it answers what its golden answers say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trident.bench.yardstick import Yardstick
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.kernel_encoder import KernelEncoder
from trident.errors import DataError, ModelError
from trident.generation.generation import Generation
from trident.generation.golden import golden_differences
from trident.index.exact_search import exact_search
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher


@pytest.fixture
def searcher(generation: Generation) -> Searcher:
    return Searcher.load(generation)


def test_golden_queries_are_answered_as_at_the_export(searcher: Searcher, generation: Generation) -> None:
    golden = json.loads((generation.folder / "golden.json").read_text())
    answers = searcher.answer_again(generation.golden())
    assert [answer.product_ids for answer in answers] == [row["product_ids"] for row in golden]
    for answer, row in zip(answers, golden, strict=True):
        np.testing.assert_allclose(answer.scores, row["scores"], atol=1e-5)
    assert golden_differences(generation.golden(), answers) == []


def test_knobs_are_each_query_s_own(searcher: Searcher, generation: Generation) -> None:
    first, second = (answer.query for answer in generation.golden()[:2])
    hits = searcher.search([first, second], [SearchKnobs(k=3), SearchKnobs(k=5, min_score=1.0)])
    assert hits.counts.tolist() == [[3], [0]]
    assert hits.titles[0, 0].decode()
    everything = searcher.search([first])
    assert everything.product_ids[0, :3].tolist() == hits.product_ids[0, :3].tolist()
    assert searcher.answers([second], k=2)[0].product_ids == generation.golden()[1].product_ids[:2]


def test_the_plain_way_finds_the_same_by_the_padded_graph(generation: Generation) -> None:
    yardstick = Yardstick.load(generation, threads=2)
    assert yardstick.padded.path.name == "model.onnx"
    assert isinstance(yardstick.searcher.encoder, KernelEncoder)
    queries = [answer.query for answer in generation.golden()]
    found, plain = yardstick.searcher.search(queries, threads=2), yardstick.search_plainly(queries, threads=2)
    assert found.product_ids.tolist() == plain.product_ids.tolist()
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)


def test_a_lone_query_on_more_threads_finds_the_same(searcher: Searcher, generation: Generation) -> None:
    searcher = replace(searcher, encoder=OnnxEncoder.load(generation.cpu_graph()))  # the kernels need one thread
    lone = searcher.for_lone(2)
    index, lone_index = searcher.retriever.index, lone.retriever.index
    assert lone.encoder is not searcher.encoder
    assert lone_index is not index
    assert lone_index.different_vectors is index.different_vectors  # nothing of the catalogue is held twice
    assert searcher.retriever.index is index  # what serves the others stays as it is
    for answer in generation.golden():
        for knobs in (SearchKnobs(k=5), SearchKnobs(k=5, ef=64)):
            alone, found = (each.search([answer.query], [knobs]) for each in (lone, searcher))
            assert alone.product_ids.tolist() == found.product_ids.tolist()
            np.testing.assert_allclose(alone.scores, found.scores, atol=1e-5)


def test_as_many_threads_for_a_lone_query_open_nothing_again(searcher: Searcher) -> None:
    same = searcher.for_lone(1)
    assert same.encoder is searcher.encoder
    assert same.retriever.index.different_vectors is searcher.retriever.index.different_vectors


def test_embeddings_are_of_their_side_and_those_of_the_index(searcher: Searcher) -> None:
    index = searcher.retriever.index
    vectors = index.vectors(np.arange(index.count))
    query = searcher.embed(["crimson kettle"])
    np.testing.assert_allclose(np.linalg.norm(query, axis=1), 1, atol=1e-5)
    best = searcher.search(["crimson kettle"], [SearchKnobs(k=1)])
    title = best.titles[0, 0].decode()
    row = int(exact_search(vectors, query, 1).rows[0, 0])
    np.testing.assert_allclose(searcher.embed([title], "product")[0], vectors[row], atol=1e-5)


def test_a_chosen_precision_is_run(generation: Generation, searcher: Searcher) -> None:
    half = Searcher.load(generation, threads=2, precision="fp16")
    assert half.encoder.path.name == "model.fp16.onnx"
    assert isinstance(searcher.encoder, KernelEncoder)
    found, expected = (each.embed(["crimson kettle", "navy sofa"]) for each in (half, searcher))
    assert (found * expected).sum(1).min() > 0.999


def test_a_missing_graph_is_named(generation: Generation, tmp_path: Path) -> None:
    copy = Generation.load(Path(shutil.copytree(generation.folder, tmp_path / generation.id)))
    copy.cpu_graph("int8").unlink()
    with pytest.raises(ModelError, match=r"model\.int8\.unpadded\.onnx does not exist: export the model first"):
        Searcher.load(copy, precision="int8")


def test_an_empty_query_is_refused(searcher: Searcher) -> None:
    with pytest.raises(DataError, match="must not be empty"):
        searcher.search([" "])

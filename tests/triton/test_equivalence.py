"""The served pipeline against the same encoder and exact search in PyTorch and numpy, over a twelfth of the sample."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.encoder.text import TextContract
from trident.generation.generation import find_generation
from trident.index.exact_search import exact_search
from trident.server.server import ModelStatistics, TritonServer
from trident_client import Behaviour, SearchClient
from trident_train.model.encoder import Encoder

CLIENTS = 24


@pytest.fixture(scope="module")
def queries(sample_data: Path) -> list[str]:
    return list(dict.fromkeys(read_pairs(sample_data / "pairs.csv").queries))


def test_answers_equal_exact_search_in_pytorch(
    sample_server: TritonServer, sample_generations: Path, sample_data: Path, queries: list[str]
) -> None:
    catalogue = read_catalogue(sample_data / "products.csv")
    folder = find_generation(sample_generations).folder / "encoder"
    encoder = Encoder.load(folder, TextContract.load(folder))
    vectors = encoder.embed(catalogue.titles, "product")
    ids = catalogue.product_ids
    asked = queries[:200]
    exact = exact_search(vectors, encoder.embed(asked, "query"), 10)
    overlaps = []
    with SearchClient(sample_server.urls.grpc) as client:
        for row, result in enumerate(client.search_many(asked, mode="dense", spelling=False)):
            expected = dict(zip((ids[product] for product in exact.rows[row]), exact.scores[row].tolist(), strict=True))
            found = {hit.product_id: hit.score for hit in result.hits}
            overlaps.append(len(expected.keys() & found.keys()) / 10)
            for product_id in expected.keys() & found.keys():
                assert found[product_id] == pytest.approx(expected[product_id], abs=1e-3)
    assert np.mean(overlaps) >= 0.99


def test_requests_of_mixed_lengths_batch(sample_server: TritonServer, queries: list[str]) -> None:
    before = settled(sample_server)
    cycle = itertools.cycle(queries)
    mixed = [" ".join(itertools.islice(cycle, 1 + number % 4)) for number in range(CLIENTS * 40)]
    patient = Behaviour(retries=10)  # of those that others on this machine make wait too long
    with (
        SearchClient(sample_server.urls.grpc, timeout_s=60, behaviour=patient) as client,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        results = list(pool.map(client.search, mixed))
    after = settled(sample_server)
    assert len(results) == len(mixed)
    mean_batch = (after.inferences - before.inferences) / (after.executions - before.executions)
    assert after.inferences - before.inferences >= len(mixed)
    assert mean_batch >= 4


def settled(server: TritonServer) -> ModelStatistics:
    """Return what the pipeline did, when no more is counted: Triton counts a batch after its answers have left."""
    found = server.statistics("pipeline")
    while True:
        time.sleep(0.5)
        again = server.statistics("pipeline")
        if again == found:
            return found
        found = again

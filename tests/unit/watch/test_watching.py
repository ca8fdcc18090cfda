"""The canary against an independent exact search, and the counting of a query log, without a server."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.data.texts import Texts
from trident.generation.generation import Identity, find_generation
from trident.generation.state import ServingFolder
from trident.index.index import IndexConfig, VectorIndex
from trident.retrieval.options import SearchOptions, read_page
from trident.retrieval.products import GenerationProducts
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Hits, Retriever
from trident.watch.canary import RecallCanary
from trident.watch.query_log import QueryLog
from trident.watch.serving_metrics import CANARY_METRICS, QUERY_LOG_METRICS, ServingMetrics, serving_generation
from trident.watch.watching import SearchWatch

IDENTITY = Identity(id="51e4408bbb1ea5fe", serial=3, encoder_fingerprint="f" * 16)


class Families:
    """What Triton's ``MetricFamily`` does, which only exists inside a server: keeps a value for each name."""

    COUNTER, GAUGE = "counter", "gauge"

    def __init__(self) -> None:
        self.values: dict[str, float] = defaultdict(float)
        self.labels: dict[str, str] = {}

    def __call__(self, *, name: str, description: str, kind: str) -> Any:
        values, labels_seen = self.values, self.labels

        class Metric:
            def __init__(self, labels: dict[str, str]) -> None:
                labels_seen.update(labels)
                values[name] += 0.0

            def increment(self, amount: float) -> None:
                assert amount >= 0
                assert kind == "counter"
                values[name] += amount

            def set(self, value: float) -> None:
                assert kind == "gauge"
                values[name] = value

        class Family:
            def Metric(self, labels: dict[str, str]) -> Metric:  # noqa: N802 - Triton's name
                return Metric(labels)

        return Family()


def unit_rows(seed: int, count: int, dimension: int = 16) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.concatenate([unit_rows(0, 1500), unit_rows(0, 300)])  # 300 products have a twin


@pytest.fixture(scope="module")
def poor_index(vectors: np.ndarray) -> VectorIndex:
    config = IndexConfig(m=3, ef_construction=6, ef=512)
    return VectorIndex.build(vectors, config=config, encoder_fingerprint="f" * 16)


def products_of(index: VectorIndex, attributes: Attributes | None = None) -> GenerationProducts:
    names = Texts.of([str(row) for row in range(index.count)])
    return GenerationProducts(index, attributes or Attributes.none(index.count), names, names)


def measured(index: VectorIndex, queries: np.ndarray, knob: SearchKnobs, share: float = 1.0) -> dict[str, float]:
    """Return the metrics after a canary saw the queries one by one."""
    families = Families()
    metrics = ServingMetrics(families, IDENTITY, CANARY_METRICS)
    canary = RecallCanary(lambda: products_of(index), metrics, share, seed=1)
    for query in queries:
        canary.answered(query[None], [knob])
        deadline = time.monotonic() + 5
        while canary.waiting and time.monotonic() < deadline:
            time.sleep(0.001)
    canary.close()
    metrics.close()
    assert families.labels["generation"] == IDENTITY.id
    return families.values


@pytest.mark.parametrize(("k", "ef"), [(10, 10), (10, None), (1, 10), (40, 1)])
def test_it_measures_the_recall_of_what_was_asked(
    vectors: np.ndarray, poor_index: VectorIndex, k: int, ef: int | None
) -> None:
    queries = unit_rows(9, 40)
    values = measured(poor_index, queries, SearchKnobs(k=k, ef=ef))
    cosines = queries.astype(np.float64) @ vectors.astype(np.float64).T
    bounds = np.sort(cosines, axis=1)[:, -10]
    found = poor_index.search(queries, max(k, 10), ef=ef).rows[:, :10]
    good = sum((cosines[row, found[row]] >= bounds[row] - 1e-6).sum() for row in range(len(queries)))
    assert values["trident_canary_queries_total"] == 40
    assert values["trident_canary_wanted_total"] == 400
    assert values["trident_canary_found_total"] == good
    assert values["trident_canary_recall"] == pytest.approx(good / 400)
    assert values["trident_canary_dropped_total"] == 0
    if ef == 10:
        assert good < 360  # an index this poor is seen


def test_filtered_queries_are_held_against_what_passes(poor_index: VectorIndex, tmp_path: Path) -> None:
    """With the query's own filter; who browses, or wants products like one, asked no query."""
    brands = pa.table({"brand": ["a", "b", "c"] * (poor_index.count // 3)})
    write_attributes(tmp_path, infer(brands, {}, "products"), poor_index.count)
    attributes = Attributes.load(tmp_path)
    families = Families()
    metrics = ServingMetrics(families, IDENTITY, CANARY_METRICS)
    canary = RecallCanary(lambda: products_of(poor_index, attributes), metrics, 1.0)
    page = read_page(SearchOptions(filter={"brand": "b"}), attributes)
    for each in (page, replace(page, browses=True), replace(page, like="1")):
        canary.answered(unit_rows(9, 20), [SearchKnobs(ef=10, page=each)] * 20)
    canary.close()
    metrics.close()
    assert families.values["trident_canary_queries_total"] == 20
    assert families.values["trident_canary_wanted_total"] == 200
    assert families.values["trident_canary_found_total"] == 200  # what passes is compared, however poor the graph


def test_it_draws_its_share(poor_index: VectorIndex) -> None:
    values = measured(poor_index, unit_rows(9, 400), SearchKnobs(), share=0.1)
    assert 20 <= values["trident_canary_queries_total"] <= 65


def test_it_drops_what_does_not_fit_and_never_waits(poor_index: VectorIndex) -> None:
    families = Families()
    metrics = ServingMetrics(families, IDENTITY, CANARY_METRICS)
    canary = RecallCanary(lambda: products_of(poor_index), metrics, 1.0)
    start = time.monotonic()
    canary.answered(unit_rows(2, 3000), [SearchKnobs()] * 3000)
    assert time.monotonic() - start < 5
    canary.close()
    metrics.close()
    values = families.values
    assert values["trident_canary_dropped_total"] > 2500
    assert values["trident_canary_dropped_total"] + values["trident_canary_queries_total"] == 3000


def test_a_query_it_cannot_search_ends_nothing(poor_index: VectorIndex, caplog: pytest.LogCaptureFixture) -> None:
    families = Families()
    metrics = ServingMetrics(families, IDENTITY, CANARY_METRICS)
    canary = RecallCanary(lambda: products_of(poor_index), metrics, 1.0)
    canary.answered(np.zeros((1, 16), dtype=np.float32), [SearchKnobs()])
    canary.answered(unit_rows(2, 1), [SearchKnobs()])
    canary.close()
    metrics.close()
    assert "the canary could not search: queries must have length 1" in caplog.text
    assert families.values["trident_canary_queries_total"] == 1


def test_a_query_log_on_a_full_disk_counts_what_it_drops(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    families = Families()
    metrics = ServingMetrics(families, IDENTITY, QUERY_LOG_METRICS)
    for path in (Path("/dev/full"), tmp_path / "queries.jsonl"):
        log = QueryLog(path, IDENTITY.id, max_bytes=10**6, metrics=metrics)
        log.add(["navy sofa", "Größe 4"])
        log.close()
    metrics.close()
    assert families.values["trident_query_log_dropped_total"] == 2
    assert families.values["trident_query_log_lines_total"] == 2
    assert "the query log /dev/full cannot be written: [Errno 28] No space left on device" in caplog.text
    assert [json.loads(line)["query"] for line in path.read_text("utf-8").splitlines()] == ["navy sofa", "Größe 4"]


def test_a_query_log_keeps_what_was_shown(tmp_path: Path) -> None:
    """A request with an id and its answers; one without; and one whose queries another model writes."""
    metrics = ServingMetrics(families := Families(), IDENTITY, QUERY_LOG_METRICS)
    ids = np.array([[b"p1", b"p2", b""], [b"", b"", b""]], dtype=np.object_)
    counts = np.array([[2], [0]], dtype=np.int32)
    details = np.array([[b'{"sequence":41}'], [b"{}"]], dtype=np.object_)
    hits = Hits(ids, np.zeros((2, 3), dtype=np.float32), ids, counts, details, ("all", "all"))
    log = QueryLog(tmp_path / "queries.jsonl", IDENTITY.id, max_bytes=10**6, metrics=metrics)
    log.add(["navy sofa", "Größe 4"], "f" * 120, hits)
    log.add(["no answer"])
    log.add(None, "a", hits)
    log.close()
    metrics.close()
    rows = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text("utf-8").splitlines()]
    name = "f" * 100
    assert all((row.pop("generation"), bool(row.pop("time"))) == (IDENTITY.id, True) for row in rows)
    assert rows == [
        {"id": f"{name}-0", "query": "navy sofa", "shown": ["p1", "p2"], "sequence": 41},
        {"id": f"{name}-1", "query": "Größe 4", "shown": []},
        {"query": "no answer"},
        {"id": "a-0", "shown": ["p1", "p2"], "sequence": 41},
        {"id": "a-1", "shown": []},
    ]
    assert families.values["trident_query_log_lines_total"] == 3


def test_the_generation_in_service_is_that_of_the_state(tmp_path: Path) -> None:
    folder = ServingFolder(tmp_path)
    assert serving_generation(folder) is None
    folder.write_state("51e4408bbb1ea5fe", None)
    assert serving_generation(folder) == "51e4408bbb1ea5fe"
    (tmp_path / "state.json").write_text("{")
    assert serving_generation(folder) is None


def test_answers_are_counted_later_and_golden_ones_never(tiny_generations: Path, tmp_path: Path) -> None:
    """Four answers of a batch, one of them golden, one without a product; then a batch of golden ones."""
    generation = find_generation(tiny_generations)
    retriever = Retriever.load(generation.version_folder("retriever"))
    families = Families()
    watch = SearchWatch(retriever, families, tmp_path / "models" / "pipeline")
    empty = np.full((4, 2), b"", dtype=np.object_)
    scores = np.array([[0.9, 0.5], [0.8, 0.1], [-2.0, -2.0], [0.3, 0.2]], dtype=np.float32)
    hits = Hits(
        empty,
        scores,
        empty,
        np.array([[2], [2], [0], [2]], dtype=np.int32),
        empty[:, :1],
        ("all", "graph", "gathered", "browse"),
        frozenset({0, 1}),
    )
    knobs, vectors = [SearchKnobs()] * 4, unit_rows(3, 4)
    watch.answered(vectors, knobs, hits, [True, False, True, True])
    watch.answered(vectors, knobs, hits, [False] * 4)
    watch.close()
    assert families.values["trident_searches_total"] == 3
    assert families.values["trident_empty_results_total"] == 1
    assert families.values["trident_weak_total"] == 1
    assert families.values["trident_top_score_sum_total"] == pytest.approx(0.9)  # who browses has no score

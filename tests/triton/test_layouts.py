"""The layouts that run here, and the pipeline's own queue."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trident_kernels
import tritonclient.grpc as triton_grpc
from prometheus_client.parser import text_string_to_metric_families

from trident.encoder.kernel_encoder import KernelEncoder
from trident.generation.generation import Generation
from trident.search.admission import PAUSE_S
from trident.search.searcher import Searcher
from trident.server.runtime_repository import lay_out
from trident.server.server import ServerConfig, TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import AsyncSearchClient, InvalidRequestError, SearchClient, ServerOverloadedError

TURNS = 40
ASKED = 200
BETWEEN_S = 0.02  # between a lone client's queries: Triton notices an idle instance a moment after its answer


@pytest.mark.parametrize("variant", ["stages", "torch"])  # torch without a GPU computes in float32
def test_three_stages_answer_what_one_process_answers(
    generation: Generation, tiny_server: TritonServer, variant: str
) -> None:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, variant=variant)
    queries = [answer.query for answer in generation.golden()]
    with (
        serve(generation, generation.folder.parent, options) as server,  # its golden answers were checked
        SearchClient(server.urls.grpc) as stages,
        SearchClient(tiny_server.urls.grpc) as one,
    ):
        for found, expected in zip(stages.search_many(queries), one.search_many(queries), strict=True):
            assert [hit.product_id for hit in found.hits] == [hit.product_id for hit in expected.hits]
        for asked in ({"mode": "hybrid"}, {"mode": "lexical"}, {"explain": True}):
            with pytest.raises(InvalidRequestError, match="is answered by the variant cpu alone: this one searches"):
                stages.search("navy sofa", **asked)
        assert stages.search("navy sofa", mode="dense", spelling=False).hits
        timings = stages.search("navy sofa", timings=True).timings_ms  # of the retriever, which sees vectors
        assert timings is not None
        assert list(timings) == ["dense", "rest"]
        for side in ("query", "product"):
            vectors = [client.embed(queries, side=side) for client in (stages, one)]
            np.testing.assert_allclose(*vectors, atol=1e-5)
        assert server.statistics("encoder").inferences > 0


@pytest.mark.parametrize("kernels", ["on", "off"])
def test_the_pipeline_embeds_with_the_kernels_unless_they_are_switched_off(
    generation: Generation, tiny_server: TritonServer, tmp_path: Path, kernels: str
) -> None:
    queries = [answer.query for answer in generation.golden()]
    with pipeline_with(generation, tmp_path, ('"auto"', f'"{kernels}"')) as server:
        with SearchClient(server.urls.grpc) as client, SearchClient(tiny_server.urls.grpc) as by_default:
            found, default = client.embed(queries), by_default.embed(queries)
        log = server.log_tail(1000)
    served = Searcher.load(generation)
    assert isinstance(served.encoder, KernelEncoder)
    assert np.array_equal(default, served.embed(queries))
    assert np.array_equal(found, default) == (kernels == "on")  # the graph adds up in another order
    np.testing.assert_allclose(found, default, atol=1e-5)
    running = f"the encoder runs on the kernels ({trident_kernels.instructions()[0]}"
    assert ("not on the kernels: they are switched off" if kernels == "off" else running) in log


@contextmanager
def pipeline_with(
    generation: Generation, folder: Path, *changes: tuple[str, str], variant: str = "cpu"
) -> Iterator[TritonServer]:
    """Yield a server whose slowest model has a changed configuration: each pattern stands there once."""
    models = folder / "serving" / "models"
    models.parent.mkdir()
    lay_out(models, generation, variant=variant, cache=False, plan=None)
    path = models / ("pipeline/config.pbtxt" if variant == "cpu" else f"encoder/configs/{variant}.pbtxt")
    text = path.read_text()
    for pattern, new in changes:
        text, changed = re.subn(pattern, new, text)
        assert changed == 1, pattern
    path.write_text(text)
    http_port, grpc_port, metrics_port = free_ports(3)
    config = ServerConfig(
        model_repository=models,
        load_models=("search", "embed") if variant == "cpu" else ("search",),
        model_config_name=variant,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    with TritonServer(config) as server:
        yield server


def test_the_pipeline_gives_what_is_asked_for(tiny_server: TritonServer, generation: Generation) -> None:
    golden = generation.golden()[0]
    text = triton_grpc.InferInput("text", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[golden.query.encode()]], dtype=np.object_))
    with triton_grpc.InferenceServerClient(tiny_server.urls.grpc) as connection:
        for names in (("embedding",), ("product_id", "embedding"), ("generation", "score")):
            wanted = [triton_grpc.InferRequestedOutput(name) for name in names]
            answer = connection.infer("pipeline", [text], outputs=wanted)
            assert {output.name for output in answer.get_response().outputs} == set(names)
            if "product_id" in names:
                assert [product.decode() for product in answer.as_numpy("product_id")[0]] == golden.product_ids
            if "embedding" in names:
                assert np.linalg.norm(answer.as_numpy("embedding")) == pytest.approx(1, abs=1e-5)


def test_a_lone_client_s_queries_go_to_one_instance_and_those_of_several_to_all(tiny_server: TritonServer) -> None:
    before = settled(tiny_server)
    with SearchClient(tiny_server.urls.grpc) as client, ThreadPoolExecutor(8) as pool:
        for turn in range(ASKED):
            client.search(f"navy sofa {turn}", k=3)
            time.sleep(BETWEEN_S)
        alone = settled(tiny_server, before, ASKED)
        list(pool.map(lambda turn: client.search(f"red lamp {turn}", k=3), range(ASKED)))
        together = settled(tiny_server, alone, ASKED)
    assert len(before) == 2
    assert max(alone[worker] - before[worker] for worker in before) >= 0.75 * ASKED  # in turns it would be half
    assert min(together[worker] - alone[worker] for worker in before) >= 0.05 * ASKED


def settled(server: TritonServer, before: dict[str, float] | None = None, more: int = 0) -> dict[str, float]:
    """Return the searches of each process, when so many more than before are counted; None: when no more are."""
    deadline = time.monotonic() + 10
    while True:
        found = by_worker(server, "trident_searches_total")
        time.sleep(1.5)  # metrics are up to a second behind
        if found == by_worker(server, "trident_searches_total"):
            assert before is None or sum(found.values()) - sum(before.values()) == more
            return found
        assert time.monotonic() < deadline


@pytest.fixture(params=["cpu", "stages", "torch"])
def impatient(generation: Generation, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TritonServer]:
    """Return a server whose slowest model takes batches of 66 rows and lets nobody wait."""
    changes = (
        (r"max_batch_size: \d+", "max_batch_size: 66"),
        (r'("max_wait_ms"\s+value \{\s+string_value:) "\d+"', r'\1 "0"'),
    )
    with pipeline_with(generation, tmp_path, *changes, variant=request.param) as server:
        yield server


def test_who_would_wait_too_long_is_told_so_at_once(impatient: TritonServer) -> None:
    """More is asked at a time than a batch holds; whoever comes to a full batch is rejected, others are not."""
    with SearchClient(impatient.urls.grpc, timeout_s=60) as client, ThreadPoolExecutor(TURNS) as pool:
        asked = [pool.submit(client.search, f"navy sofa {turn}", k=3) for turn in range(20 * TURNS)]
        errors = [error for each in asked if (error := each.exception()) is not None]
        assert 0 < len(errors) < len(asked)
        assert all(isinstance(error, ServerOverloadedError) for error in errors)
        assert str(errors[0]).endswith(
            "overloaded: requests must not wait longer than 0 s, and more come than it answers; try again later"
        )
        time.sleep(4 * PAUSE_S)
        assert len(client.search("navy sofa", k=3).hits) == 3  # when it is quiet again
    expected = {"trident_searches_total": len(asked) - len(errors) + 1}
    if impatient.config.model_config_name == "cpu":  # in stages Triton itself counts the encoder's failures
        expected["trident_rejected_total"] = len(errors)
    deadline = time.monotonic() + 10  # metrics are up to a second behind
    while (found := {name: counted(impatient, name) for name in expected}) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    if impatient.config.model_config_name == "cpu":
        every_form_is_told_so(impatient)


def every_form_is_told_so(server: TritonServer) -> None:
    """The other forms of the client: each request is answered or rejected, some are either."""

    async def ask(url: str) -> list[Any]:
        async with AsyncSearchClient(url, timeout_s=60) as client:
            asked = (client.search(f"navy sofa {turn}", k=3) for turn in range(20 * TURNS))
            return await asyncio.gather(*asked, return_exceptions=True)

    def at_once(url: str) -> list[Any]:
        with SearchClient(url, timeout_s=60) as client, ThreadPoolExecutor(TURNS) as pool:
            asked = [pool.submit(client.search, f"navy sofa {turn}", k=3) for turn in range(20 * TURNS)]
            return [each.exception() or each.result() for each in asked]

    web, grpc = f"http://{server.urls.http}", f"grpc://{server.urls.grpc}"
    for found in (at_once(web), asyncio.run(ask(web)), asyncio.run(ask(grpc))):
        errors = [each for each in found if isinstance(each, BaseException)]
        assert 0 < len(errors) < len(found)
        assert {type(error) for error in errors} == {ServerOverloadedError}
        assert all(len(each.hits) == 3 for each in found if not isinstance(each, BaseException))


def counted(server: TritonServer, metric: str) -> float:
    return sum(by_worker(server, metric).values())


def by_worker(server: TritonServer, metric: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.urls.metrics}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == metric]
    return {sample.labels["worker"]: sample.value for sample in samples}

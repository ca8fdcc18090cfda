"""The served ensembles: answers, knobs, and one clear refusal for each fault, over gRPC and HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from trident.generation.generation import find_generation
from trident.server.server import TritonServer
from trident_client import ClientError, InvalidRequestError, SearchClient
from trident_train.report.run_folder import load_run

OUTPUTS = ("product_id", "score", "title", "count", "generation")


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, tiny_server: TritonServer) -> Iterator[SearchClient]:
    url = tiny_server.urls.grpc if request.param == "grpc" else tiny_server.urls.http
    with SearchClient(url, protocol=request.param) as found:
        yield found


def infer(server: TritonServer, protocol: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Ask the search ensemble without our client, which would refuse bad input by itself."""
    library: Any = triton_grpc if protocol == "grpc" else triton_http
    sent = []
    for name, values in inputs.items():
        tensor = library.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values)
        sent.append(tensor)
    with library.InferenceServerClient(getattr(server.urls, protocol)) as connection:
        answer = connection.infer("search", sent, outputs=[library.InferRequestedOutput(name) for name in OUTPUTS])
        return {name: answer.as_numpy(name) for name in OUTPUTS}


def texts(*values: bytes) -> np.ndarray:
    return np.array([[value] for value in values], dtype=np.object_)


def test_server_is_ready_and_answers(client: SearchClient, tiny_generations: Path) -> None:
    assert client.is_ready()
    result = client.search("crimson kettle", k=5)
    assert len(result.hits) == 5
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    assert result.generation == find_generation(tiny_generations).id
    assert result.query == "crimson kettle"
    assert all(hit.title and hit.product_id for hit in result.hits)


def test_one_request_for_many_equals_many_requests(client: SearchClient) -> None:
    queries = [
        f"{colour} {thing}" for colour in ("crimson", "navy", "x" * 100) for thing in ("sofa", "rake", "lamp")
    ] * 12
    assert len(queries) > 64
    together = client.search_many(queries, k=3)
    for query, result in zip(queries[:9], together[:9], strict=True):
        alone = client.search(query, k=3)
        assert [hit.product_id for hit in alone.hits] == [hit.product_id for hit in result.hits]
        np.testing.assert_allclose([h.score for h in alone.hits], [h.score for h in result.hits], atol=1e-5)


def test_more_than_there_is_gives_all(client: SearchClient) -> None:
    result = client.search("navy sofa", k=1000)
    assert len(result.hits) == 144
    assert len({hit.product_id for hit in result.hits}) == 144


def test_min_score_leaves_out_what_is_below(client: SearchClient) -> None:
    everything = client.search("navy sofa", k=144)
    border = everything.hits[20].score
    kept = client.search("navy sofa", k=144, min_score=border - 1e-5).hits
    assert len(kept) == sum(hit.score >= border - 1e-5 for hit in everything.hits)
    assert client.search("navy sofa", min_score=1.0).hits == ()


def test_ef_reaches_the_index(client: SearchClient) -> None:
    exact = client.search("navy sofa", k=10, ef=144)
    assert [hit.product_id for hit in client.search("navy sofa", k=10).hits] == [hit.product_id for hit in exact.hits]


def test_embed_equals_pytorch(client: SearchClient, tiny_run: Path) -> None:
    names = ["crimson kettle", "Alba sofa red, 2 seats", "x"]
    encoder = load_run(tiny_run)
    np.testing.assert_allclose(client.embed(names), encoder.embed(names, "query"), atol=1e-5)
    long = ["kettle " * 40]
    np.testing.assert_allclose(client.embed(long, side="product"), encoder.embed(long, "product"), atol=1e-5)
    assert not np.allclose(client.embed(long, side="product"), client.embed(long, side="query"), atol=1e-3)


def test_rows_are_padded_never_refused(tiny_server: TritonServer) -> None:
    answer = infer(tiny_server, "grpc", query=texts(b"navy sofa"), k=np.array([[200]], dtype=np.int64))
    assert answer["product_id"].shape == answer["score"].shape == answer["title"].shape == (1, 200)
    assert answer["count"].tolist() == [[144]]
    assert set(answer["product_id"][0, 144:]) == {b""}
    assert (answer["score"][0, 144:] == -2.0).all()
    assert answer["score"].dtype == np.float32


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"query": texts(b"")}, "query must not be empty, got ''"),
        ({"query": texts(b"  ")}, "query must not be empty, got '  '"),
        ({"query": texts(b"\xff\xfe")}, "query must be UTF-8, got b'\\xff\\xfe'"),
        ({"query": texts(b"x" * 20_000)}, "query must have at most 10,000 bytes, got 20,000"),
        ({"query": texts(b"sofa"), "k": np.array([[0]], dtype=np.int64)}, "k must be 1 to 1000, got 0"),
        ({"query": texts(b"sofa"), "k": np.array([[1001]], dtype=np.int64)}, "k must be 1 to 1000, got 1001"),
        ({"query": texts(b"sofa"), "ef": np.array([[-1]], dtype=np.int64)}, "ef must be 1 to 10000, got -1"),
        ({"query": texts(b"sofa"), "min_score": np.array([[np.nan]], dtype=np.float32)}, "min_score must be -1 to 1"),
    ],
)
def test_bad_requests_are_refused_by_the_server(
    tiny_server: TritonServer, protocol: str, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        infer(tiny_server, protocol, **inputs)
    assert message in str(caught.value)
    assert str(caught.value.status()) in ("StatusCode.INVALID_ARGUMENT", "400")


def test_a_refused_request_harms_no_other(tiny_server: TritonServer) -> None:
    def ask(number: int) -> str:
        try:
            infer(tiny_server, "grpc", query=texts(b"navy sofa"), k=np.array([[number % 3]], dtype=np.int64))
        except InferenceServerException as error:
            return str(error.message())
        return "answered"

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(60)))
    assert answers.count("answered") == 40
    assert sum("k must be 1 to 1000, got 0" in answer for answer in answers) == 20


def test_client_turns_refusals_into_its_own_errors(client: SearchClient) -> None:
    with pytest.raises(InvalidRequestError, match="ef must be 1 to 10000, got 20000"):
        client.search("sofa", ef=20_000)
    with pytest.raises(InvalidRequestError, match="k must be 1 to 1000, got 0"):
        client.search("sofa", k=0)
    with pytest.raises(InvalidRequestError, match="query must not be empty"):
        client.search(" ")


def test_wrong_port_is_one_clear_error(tiny_server: TritonServer) -> None:
    with SearchClient(tiny_server.urls.http, timeout_s=2) as client, pytest.raises(ClientError) as caught:
        client.search("sofa")
    assert "\n" not in str(caught.value)

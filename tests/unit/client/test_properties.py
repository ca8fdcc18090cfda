"""What is written is what is read, for every text, number and product (hypothesis)."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from trident_client import InvalidRequestError, SearchClient, UnexpectedAnswerError
from trident_client.answers import Answer, read_details, read_embeddings, read_results
from trident_client.failures import FAILURES
from trident_client.requests import Request, Wanted, embed_requests, search_requests
from trident_client.wire import grpc_call, http_body, read_http

BOUNDED = settings(max_examples=30, deadline=None, derandomize=True, database=None)
texts = st.text(min_size=1, max_size=60).filter(str.strip)
lists = st.lists(texts, min_size=1, max_size=70)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def written_by_http(request: Request) -> dict[str, Any]:
    """Return the tensors in the body of a request."""
    body, headers = http_body(request, deadline_ms=5)
    length = int(headers["Inference-Header-Content-Length"])
    start, found = length, {}
    for tensor in json.loads(body[:length])["inputs"]:
        size = tensor["parameters"]["binary_data_size"]
        found[tensor["name"]] = values_of(body[start : start + size], tensor["datatype"], tensor["shape"])
        start += size
    assert start == len(body)
    return found


def written_by_grpc(request: Request) -> dict[str, Any]:
    found = {}
    for tensor in grpc_call(request, deadline_ms=5)["inputs"]:
        found[tensor.name()] = values_of(tensor._get_content(), tensor.datatype(), tensor.shape())
    return found


def values_of(content: bytes, datatype: str, shape: Any) -> Any:
    if datatype == "BYTES":
        return [each.decode() for each in deserialize_bytes_tensor(content)]
    return np.frombuffer(content, {"INT64": "<i8", "FP32": "<f4"}[datatype]).reshape(shape).tolist()


@pytest.mark.parametrize("written", [written_by_http, written_by_grpc])
@BOUNDED
@given(
    queries=lists,
    k=st.integers(1, 1000),
    min_score=st.floats(-1, 1, width=32),
    options=st.dictionaries(st.text(), plain),
)
def test_a_search_is_read_as_it_was_asked(written: Any, queries: Any, k: int, min_score: float, options: Any) -> None:
    requests = search_requests(queries, Wanted(k=k, min_score=min_score, options=options))
    read = [written(request) for request in requests]
    assert [text for each in read for text in each["query"]] == queries
    assert all(len(each["query"]) <= 64 for each in read)
    for each in read:
        rows = len(each["query"])
        assert each["k"] == [[k]] * rows
        assert each["min_score"] == [[min_score]] * rows
        if options:
            assert [json.loads(text) for text in each["options"]] == [options] * rows
            assert len(set(each["options"])) == 1


@pytest.mark.parametrize("written", [written_by_http, written_by_grpc])
@BOUNDED
@given(given_texts=lists, side=st.sampled_from(["query", "product"]))
def test_texts_are_embedded_as_they_are(written: Any, given_texts: list[str], side: str) -> None:
    read = [written(request) for request in embed_requests(given_texts, side)]
    assert [text for each in read for text in each["text"]] == given_texts
    assert {text for each in read for text in each["side"]} == {side}


def answered(outputs: dict[str, Any]) -> tuple[bytes, str]:
    """Return body and header of an answer as Triton writes it."""
    parts, described = [], []
    for name, values in outputs.items():
        kind = {"O": "BYTES", "f": "FP32", "i": "INT32"}[values.dtype.kind]
        parts.append(serialize_byte_tensor(values).item() if kind == "BYTES" else values.tobytes())
        described.append(
            {"name": name, "datatype": kind, "shape": values.shape, "parameters": {"binary_data_size": len(parts[-1])}}
        )
    head = json.dumps({"model_name": "search", "model_version": "3", "outputs": described}).encode()
    return head + b"".join(parts), str(len(head))


products = st.lists(st.tuples(st.text(), st.floats(-1, 1, width=32), st.text()), max_size=5)


@BOUNDED
@given(
    rows=st.lists(st.tuples(texts, products), min_size=1, max_size=4),
    details=st.dictionaries(st.text(max_size=3), plain),
)
def test_an_answer_is_read_as_it_was_written(rows: list[Any], details: dict[str, Any]) -> None:
    k = max(1, *(len(found) for _, found in rows))
    padded = [[*found, *[("", -2.0, "")] * (k - len(found))] for _, found in rows]
    details = {name: value for name, value in details.items() if name not in ("attributes", "probability")}

    def column(place: int) -> Any:
        return np.array([[each[place].encode() for each in row] for row in padded], dtype=np.object_)

    body, length = answered(
        {
            "product_id": column(0),
            "score": np.array([[each[1] for each in row] for row in padded], dtype=np.float32),
            "title": column(2),
            "count": np.array([[len(found)] for _, found in rows], dtype=np.int32),
            "details": np.array([[json.dumps(details).encode()]] * len(rows), dtype=np.object_),
            "generation": np.array([[b"g"]] * len(rows), dtype=np.object_),
        }
    )
    (request,) = search_requests([query for query, _ in rows], Wanted(k=k))
    results = read_results(request, read_http(request, body, length, "here"))
    for result, (query, found) in zip(results, rows, strict=True):
        assert result.query == query
        assert [(hit.product_id, hit.score, hit.title) for hit in result.hits] == found
        assert (result.details, result.model_version, result.generation) == (details, 3, "g")


@BOUNDED
@given(vectors=st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=1, max_size=5))
def test_embeddings_keep_their_bits(vectors: list[list[float]]) -> None:
    own = np.array(vectors, dtype=np.float32)
    generation = np.array([[b"g"]] * len(own), dtype=np.object_)
    (request,) = embed_requests(["a"] * len(own), "query")
    answer = read_http(request, *answered({"embedding": own, "generation": generation}), "here")
    assert read_embeddings([request], [answer]).tobytes() == own.tobytes()


WHOLE = {
    "product_id": np.array([[b"a", b"b"]], dtype=np.object_),
    "score": np.array([[0.5, 0.25]], dtype=np.float32),
    "title": np.array([[b"A", b"B"]], dtype=np.object_),
    "count": np.array([[2]], dtype=np.int32),
    "details": np.array([[b"{}"]], dtype=np.object_),
    "generation": np.array([[b"g"]], dtype=np.object_),
}
strange = st.one_of(
    st.integers(-3, 9).map(lambda number: np.array([[number]], dtype=np.int32)),
    st.binary(max_size=6).map(lambda text: np.array([[text]], dtype=np.object_)),
    st.floats(width=32).map(lambda number: np.array([[number]], dtype=np.float32)),
    st.sampled_from([(), (1,), (0, 2), (1, 0), (2, 1), (1, 1, 1)]).map(lambda shape: np.zeros(shape, np.float32)),
)


@settings(BOUNDED, max_examples=150)
@given(name=st.sampled_from(sorted(WHOLE)), values=strange)
def test_a_strange_answer_is_read_or_unexpected(name: str, values: Any) -> None:
    (request,) = search_requests(["sofa"], Wanted())
    try:
        (result,) = read_results(request, Answer({**WHOLE, name: values}, 1))
    except UnexpectedAnswerError:
        return
    assert name in ("count", "details", "generation", "score")
    assert len(result.hits) <= 2


@settings(BOUNDED, max_examples=150)
@given(cut=st.integers(0, 700), put=st.binary(max_size=8), kept=st.booleans())
def test_a_damaged_body_is_read_or_no_answer(cut: int, put: bytes, kept: bool) -> None:
    """By what is caught on the way: FAILURES, and what a reader of answers raises."""
    (request,) = search_requests(["sofa"], Wanted())
    body, length = answered(WHOLE)
    damaged = body[:cut] + put + (body[cut + len(put) :] if kept else b"")
    try:
        read_results(request, read_http(request, damaged, length, "here"))
    except (*FAILURES, UnexpectedAnswerError):
        return
    assert kept or len(damaged) == len(body)


@BOUNDED
@given(value=st.dictionaries(st.text(), plain))
def test_details_are_any_object(value: dict[str, Any]) -> None:
    assert read_details(json.dumps(value).encode()) == value


@BOUNDED
@given(number=st.sampled_from([math.nan, math.inf, -math.inf]), name=st.text())
def test_what_is_no_json_is_never_sent(number: float, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="options must be what JSON can hold"):
        search_requests(["a"], Wanted(options={name: [number]}))


def test_single_calls_are_the_batch(triton: Any) -> None:
    with SearchClient(f"http://127.0.0.1:{triton.ports['http']}") as client:

        @settings(BOUNDED, max_examples=10)
        @given(queries=st.lists(texts, min_size=1, max_size=5))
        def check(queries: list[str]) -> None:
            together = client.search_many(queries)
            assert [client.search(query) for query in queries] == together
            alone = [client.embed([query])[0] for query in queries]
            assert np.array_equal(client.embed(queries), alone)
            assert struct.pack("f", alone[0][0]) == struct.pack("f", len(queries[0]))

        check()

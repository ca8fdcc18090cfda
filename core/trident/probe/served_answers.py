"""Asks a running server over HTTP, with the standard library and numpy only: what core's checks need, no client."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import ServerError
from trident.generation.golden import GOLDEN_K, GOLDEN_REQUEST, GoldenAnswer
from trident.probe.control import exchange_with_headers, reason_in
from trident.retrieval.tensors import COUNT, GENERATION, MIN_SCORE, OPTIONS, PRODUCT_ID, QUERY, SCORE, K

BATCH = 50  # queries a request; the server takes 64
FRESH_SCORES = 100_000  # values of min_score between -1 and -0.99
HEADER_LENGTH = "Inference-Header-Content-Length"
ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class ServedAnswers:
    """What a server answered."""

    answers: tuple[GoldenAnswer, ...]  # in the order of the queries
    generations: tuple[str, ...]  # ids that answered, each once
    versions: tuple[int, ...]  # of the asked model, each once


def served_answers(
    url: str,
    asked: Sequence[str | GoldenAnswer],
    *,
    model: str = "search",
    k: int = GOLDEN_K,
    timeout_s: float = ANSWER_TIMEOUT_S,
    request_id: str = GOLDEN_REQUEST,
) -> ServedAnswers:
    """Return what a running server answers to queries now; never what its response cache remembers.

    Args:
        url: ``host:port`` of its HTTP.
        asked: Queries, or golden ones, which are asked with their options; at least one.
        model: An ensemble with the tensors of ``search``.
        k: Products a query.
        timeout_s: For each request.
        request_id: The mark of a golden query; see ``trident.journal.golden_mark``.

    Raises:
        ServerError: If nobody answers, or the server refuses.
    """
    answers: list[GoldenAnswer] = []
    generations: dict[str, None] = {}
    versions: dict[int, None] = {}
    queries = [
        each if isinstance(each, GoldenAnswer) else GoldenAnswer(query=each, product_ids=[], scores=[])
        for each in asked
    ]
    for start in range(0, len(queries), BATCH):
        part = queries[start : start + BATCH]
        headers, content = _infer(url, model, _request(part, k, request_id), timeout_s)
        try:
            version, tensors = _read(headers, content)
            versions[version] = None
            for row, each in enumerate(part):
                generations[tensors[GENERATION][row, 0].decode()] = None
                answers.append(_answer(each.query, tensors, row))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ServerError(f"what answers at {url} is no Triton server of Trident: {error!r}") from error
    return ServedAnswers(answers=tuple(answers), generations=tuple(generations), versions=tuple(versions))


def _request(queries: Sequence[GoldenAnswer], k: int, request_id: str) -> dict[str, Any]:
    rows = len(queries)
    # Lowest scores that leave nothing out and that nobody else has sent: the cache knows no answer to them.
    fresh = [-1.0 + secrets.randbelow(FRESH_SCORES) / FRESH_SCORES / 100 for _ in queries]
    return {
        "id": request_id,
        "inputs": [
            {"name": QUERY, "datatype": "BYTES", "shape": [rows, 1], "data": [each.query for each in queries]},
            {"name": K, "datatype": "INT64", "shape": [rows, 1], "data": [k] * rows},
            {"name": MIN_SCORE, "datatype": "FP32", "shape": [rows, 1], "data": fresh},
            *([_options(queries)] if any(each.options for each in queries) else []),
        ],
        # binary, so that scores come to the last bit
        "outputs": [
            {"name": name, "parameters": {"binary_data": True}} for name in (PRODUCT_ID, SCORE, COUNT, GENERATION)
        ],
    }


def _options(queries: Sequence[GoldenAnswer]) -> dict[str, Any]:
    data = [each.options or "{}" for each in queries]
    return {"name": OPTIONS, "datatype": "BYTES", "shape": [len(data), 1], "data": data}


def _infer(url: str, model: str, request: dict[str, Any], timeout_s: float) -> tuple[http.client.HTTPMessage, bytes]:
    body = json.dumps(request).encode()
    path = f"/v2/models/{model}/infer"
    status, headers, content = exchange_with_headers(url, "POST", path, {}, body=body, timeout_s=timeout_s)
    if status != 200:
        raise ServerError(f"tritonserver at {url} answered {status} to {path}: {reason_in(content)}")
    return headers, content


def _read(headers: http.client.HTTPMessage, content: bytes) -> tuple[int, dict[str, NDArray[Any]]]:
    """Return the version of the model that answered, and its tensors."""
    length = int(headers[HEADER_LENGTH])
    described = json.loads(content[:length])
    return int(described["model_version"]), _tensors(described["outputs"], content[length:])


def _answer(query: str, tensors: dict[str, NDArray[Any]], row: int) -> GoldenAnswer:
    count = int(tensors[COUNT][row, 0])
    return GoldenAnswer(
        query=query,
        product_ids=[value.decode() for value in tensors[PRODUCT_ID][row, :count]],
        scores=[float(score) for score in tensors[SCORE][row, :count]],
    )


def _tensors(outputs: Sequence[dict[str, Any]], content: bytes) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    start = 0
    for output in outputs:
        size = int(output["parameters"]["binary_data_size"])
        tensors[output["name"]] = _tensor(output, content[start : start + size])
        start += size
    return tensors


def _tensor(output: dict[str, Any], content: bytes) -> NDArray[Any]:
    if output["datatype"] != "BYTES":
        dtype = {"FP32": np.float32, "INT32": np.int32}[output["datatype"]]
        return np.frombuffer(content, dtype=dtype).reshape(output["shape"])
    values = []
    start = 0
    while start < len(content):  # each value behind its length, 4 bytes, little-endian
        length = int.from_bytes(content[start : start + 4], "little")
        values.append(content[start + 4 : start + 4 + length])
        start += 4 + length
    found = np.empty(len(values), dtype=np.object_)
    found[:] = values
    return found.reshape(output["shape"])

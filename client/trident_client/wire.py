"""Requests and answers as Triton's two protocols write them; nothing here opens a connection."""

from __future__ import annotations

import json
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import np_to_triton_dtype

from trident_client.answers import Answer
from trident_client.errors import UnexpectedAnswerError
from trident_client.requests import Request
from trident_client.tensors import DEADLINE

HEADER_LENGTH = "Inference-Header-Content-Length"


def grpc_call(request: Request, deadline_ms: int | None) -> dict[str, Any]:
    """Return the arguments with which tritonclient's gRPC clients send a request."""
    inputs, outputs = _tensors(triton_grpc, request)
    call: dict[str, Any] = {"model_name": request.model, "inputs": inputs, "outputs": outputs, "request_id": request.id}
    return call if deadline_ms is None else {**call, "parameters": {DEADLINE: deadline_ms}}


def read_grpc(request: Request, result: Any, url: str) -> Answer:
    """Return the answer that tritonclient's gRPC clients gave."""
    return _answer(request, result, int(result.get_response().model_version), url)


def http_body(request: Request, deadline_ms: int | None) -> tuple[bytes, dict[str, str]]:
    """Return the body of a POST to the model's ``infer``, and the headers that go with it."""
    inputs, outputs = _tensors(triton_http, request)
    body, header_length = triton_http.InferenceServerClient.generate_request_body(
        inputs,
        outputs=outputs,
        request_id=request.id,
        parameters=None if deadline_ms is None else {DEADLINE: deadline_ms},
    )
    if header_length is None:
        return body, {"content-type": "application/json"}
    return body, {"content-type": "application/octet-stream", HEADER_LENGTH: str(header_length)}


def read_http(request: Request, body: bytes, header_length: str | None, url: str) -> Answer:
    """Return the answer in the body of a reply with status 200.

    Raises:
        ValueError: If the body is not what Triton writes; KeyError, TypeError and AttributeError likewise.
    """
    parsed = triton_http.InferenceServerClient.parse_response_body(
        body, header_length=None if header_length is None else int(header_length)
    )
    return _answer(request, parsed, int(parsed.get_response()["model_version"]), url)


def error_text(body: bytes, otherwise: str) -> str:
    """Return what Triton says in the body of a reply that is no answer; ``otherwise`` where it is no JSON."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):  # of a proxy in between
        return otherwise


def _tensors(library: Any, request: Request) -> tuple[list[Any], list[Any]]:
    inputs = []
    for name, values in request.inputs.items():
        tensor = library.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs, [library.InferRequestedOutput(name) for name in request.outputs]


def _answer(request: Request, result: Any, version: int, url: str) -> Answer:
    found = {name: result.as_numpy(name) for name in request.outputs}
    missing = [name for name, values in found.items() if values is None]
    if missing:
        raise UnexpectedAnswerError(f"the server at {url} left out {', '.join(missing)} of model {request.model}")
    return Answer(found, version)

"""Requests and answers as Triton's two protocols write them; nothing here opens a connection."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from trident_client.answers import Answer
from trident_client.errors import UnexpectedAnswerError
from trident_client.requests import Request
from trident_client.tensors import DEADLINE

HEADER_LENGTH = "Inference-Header-Content-Length"
BYTES = "BYTES"
NUMBERS: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
}  # of what we ask for
LENGTH = struct.Struct("<I")  # before each text


def grpc_call(request: Request, deadline_ms: int | None) -> dict[str, Any]:
    """Return the arguments with which tritonclient's gRPC clients send a request."""
    inputs, outputs = _tensors(triton_grpc, request), list(_outputs(triton_grpc, request.outputs))
    call: dict[str, Any] = {"model_name": request.model, "inputs": inputs, "outputs": outputs, "request_id": request.id}
    return call if deadline_ms is None else {**call, "parameters": {DEADLINE: deadline_ms}}


def read_grpc(request: Request, result: Any, url: str) -> Answer:
    """Return the answer that tritonclient's gRPC clients gave.

    Raises:
        ValueError: If it is not what Triton writes; KeyError and TypeError likewise.
    """
    response = result.get_response()
    found = {
        tensor.name: unpacked(tensor.datatype, tuple(tensor.shape), content)
        for tensor, content in zip(response.outputs, response.raw_output_contents, strict=False)
    }
    return _answer(request, found, int(response.model_version), url)


def http_body(request: Request, deadline_ms: int | None) -> tuple[bytes, dict[str, str]]:
    """Return the body of a POST to the model's ``infer``, and the headers that go with it."""
    body, header_length = triton_http.InferenceServerClient.generate_request_body(
        _tensors(triton_http, request),
        outputs=_outputs(triton_http, request.outputs),
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
    start = len(body) if header_length is None else int(header_length)
    header = json.loads(body[:start])
    found = {}
    for tensor in header["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[tensor["name"]] = _listed(tensor["datatype"], tensor["shape"], tensor["data"])
        else:
            content = body[start : start + size]
            found[tensor["name"]] = unpacked(tensor["datatype"], tensor["shape"], content)
            start += size
    if start != len(body):
        raise ValueError(f"{len(body)} bytes, of which {start} are told of")
    return _answer(request, found, int(header["model_version"]), url)


def unpacked(datatype: str, shape: Sequence[int], content: bytes) -> NDArray[Any]:
    """Return a tensor from its bytes: numbers, which cannot be written to, or an object array of bytes.

    One pass and no tensor of tritonclient: it takes a fifth of the time (docs/log/client.md).

    Raises:
        ValueError: If the bytes are cut off, or not those of the shape.
        KeyError: If the datatype is none that we ask for.
    """
    if datatype != BYTES:
        return np.frombuffer(content, NUMBERS[datatype]).reshape(shape)
    texts: list[bytes] = []
    at, end = 0, len(content)
    while at < end:
        start = at + LENGTH.size
        if start > end:
            raise ValueError("the length of a text is cut off")
        at = start + LENGTH.unpack_from(content, at)[0]
        texts.append(content[start:at])
    if at != end:
        raise ValueError("a text is cut off")
    return np.array(texts, dtype=np.object_).reshape(shape)


def error_text(body: bytes, otherwise: str) -> str:
    """Return what Triton says in the body of a reply that is no answer; ``otherwise`` where it is no JSON."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):  # of a proxy in between
        return otherwise


def _listed(datatype: str, shape: Sequence[int], data: Sequence[Any]) -> NDArray[Any]:
    """Return a tensor that is written as JSON."""
    if datatype != BYTES:
        return np.array(data, NUMBERS[datatype]).reshape(shape)
    return np.array([text.encode() for text in data], dtype=np.object_).reshape(shape)


def _tensors(library: Any, request: Request) -> list[Any]:
    return [
        _text(library, name, values)
        if values.dtype == np.object_
        else _numbers(library, name, values.dtype.str, values.shape, values.tobytes())
        for name, values in request.inputs.items()
    ]


def _text(library: Any, name: str, values: NDArray[Any]) -> Any:
    tensor = library.InferInput(name, list(values.shape), BYTES)
    tensor.set_data_from_numpy(values)
    return tensor


@lru_cache(maxsize=256)
def _numbers(library: Any, name: str, dtype: str, shape: tuple[int, ...], content: bytes) -> Any:
    """Return a tensor of numbers, one for equal ones: k is nearly always the same. Nobody changes it, any may read."""
    values = np.frombuffer(content, dtype).reshape(shape)
    tensor = library.InferInput(name, list(shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


@lru_cache(maxsize=16)
def _outputs(library: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return what asks for outputs, made once."""
    return tuple(library.InferRequestedOutput(name) for name in names)


def _answer(request: Request, found: dict[str, NDArray[Any]], version: int, url: str) -> Answer:
    missing = [name for name in request.outputs if name not in found]
    if missing:
        raise UnexpectedAnswerError(f"the server at {url} left out {', '.join(missing)} of model {request.model}")
    return Answer(found, version)

"""Triton's model control, with the key of the restricted protocols.

Over HTTP, by the standard library, but loads, which go over gRPC where it can be had: a load that is asked for over
HTTP keeps most other HTTP connections of the server waiting until it is done (tritonserver 2.51,
``findings/triton-http-load-holds-others.sh``), which takes seconds where the index is large.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

from trident.errors import ServerError

KEY_HEADER = "trident-key"
KEY_METADATA = f"triton-grpc-protocol-{KEY_HEADER}"
LOAD_METHOD = "/inference.GRPCInferenceService/RepositoryModelLoad"
MODEL_NAME = b"\x12"  # the tag of RepositoryModelLoadRequest.model_name in protobuf: field 2, a string
NO_KEY = "is restricted"  # in what gRPC says of a protocol without its key, as unavailable
RESTRICTED = "model-repository,shared-memory,trace,logging"  # protocols that need the key
REPLY_TIMEOUT_S = 10.0
LOAD_TIMEOUT_S = 600.0  # a large index is read, a large engine put on the GPU
POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class LoadedVersion:
    """A version of a model as the server's repository index names it."""

    model: str
    version: int
    state: str  # READY, LOADING, UNLOADING, UNAVAILABLE
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelControl:
    """Loads and unloads models of a running server.

    Args:
        url: ``host:port`` of its HTTP.
        key: Of the restricted protocols; None sends none.
        grpc: ``host:port`` of its gRPC, for loads; None where that has TLS, or is not known: then over HTTP.
    """

    url: str
    key: str | None = None
    grpc: str | None = None

    def load(self, model: str) -> None:
        """Load what the repository holds of a model: new versions come, missing ones go, others stay as they are.

        Raises:
            ServerError: If the server refuses; its reason is in the message.
        """
        if self.grpc is None:
            self._post(f"/v2/repository/models/{model}/load", {}, timeout_s=LOAD_TIMEOUT_S)
        else:
            self._load_by_grpc(model, self.grpc)

    def unload(self, model: str) -> None:
        """Unload every version of a model; one that is not loaded is left alone.

        Raises:
            ServerError: If the server refuses.
        """
        self._post(f"/v2/repository/models/{model}/unload", {})

    def index(self) -> list[LoadedVersion]:
        """Return every version that the server knows.

        Raises:
            ServerError: If the server refuses.
        """
        return [
            LoadedVersion(
                model=row["name"], version=int(row["version"]), state=row["state"], reason=row.get("reason", "")
            )
            for row in self._post("/v2/repository/index", {})
            if "version" in row and "state" in row
        ]

    def loaded(self, model: str) -> set[int]:
        """Return the versions of a model that are ready."""
        return {row.version for row in self.index() if row.model == model and row.state == "READY"}

    def is_ready(self, model: str, version: int) -> bool:
        """Return whether a version of a model can be asked.

        Raises:
            ServerError: If nobody answers.
        """
        status, _ = exchange(self.url, "GET", f"/v2/models/{model}/versions/{version}/ready", {})
        return status == http.HTTPStatus.OK

    def wait_until_ready(self, model: str, version: int, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """Return when a version of a model can be asked.

        Raises:
            ServerError: If nobody answers, or it takes too long.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready(model, version):
            if time.monotonic() > deadline:
                raise ServerError(f"version {version} of model '{model}' was not ready within {timeout_s:g} s")
            time.sleep(POLL_S)

    def _load_by_grpc(self, model: str, url: str) -> None:
        import grpc  # only who loads models needs it

        away = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
        name = model.encode()
        assert len(name) < 128, "a length of more bytes"
        request = MODEL_NAME + bytes([len(name)]) + name
        metadata = () if self.key is None else ((KEY_METADATA, self.key),)
        with grpc.insecure_channel(url, options=(("grpc.enable_http_proxy", 0),)) as channel:
            call = channel.unary_unary(LOAD_METHOD)
            try:
                call(request, metadata=metadata, timeout=LOAD_TIMEOUT_S)
            except grpc.RpcError as error:
                status, said = error.code(), reason_in(str(error.details()).encode())
                if status in away and NO_KEY not in said:
                    raise ServerError(f"tritonserver at {url} does not answer: {said}") from error
                raise ServerError(
                    f"tritonserver at {url} refused to load model '{model}' ({status.name}): {said}"
                ) from error

    def _post(self, path: str, body: dict[str, Any], *, timeout_s: float = REPLY_TIMEOUT_S) -> Any:
        headers = {} if self.key is None else {KEY_HEADER: self.key}
        status, content = exchange(self.url, "POST", path, headers, body=json.dumps(body).encode(), timeout_s=timeout_s)
        if status != http.HTTPStatus.OK:
            raise ServerError(f"tritonserver at {self.url} refused {path} ({status}): {reason_in(content)}")
        return json.loads(content) if content else {}


def exchange(
    url: str, method: str, path: str, headers: dict[str, str], *, body: bytes = b"", timeout_s: float = REPLY_TIMEOUT_S
) -> tuple[int, bytes]:
    """Return status and content of one HTTP request; no proxy stands between.

    Raises:
        ServerError: If nobody answers, or not in time.
    """
    status, _, content = exchange_with_headers(url, method, path, headers, body=body, timeout_s=timeout_s)
    return status, content


def exchange_with_headers(
    url: str, method: str, path: str, headers: dict[str, str], *, body: bytes = b"", timeout_s: float = REPLY_TIMEOUT_S
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return status, headers and content of one HTTP request; as ``exchange``."""
    connection = http.client.HTTPConnection(url, timeout=timeout_s)
    try:
        connection.request(method, path, body=body or None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException) as error:
        said = str(error) or type(error).__name__
        raise ServerError(f"tritonserver at {url} does not answer: {said}") from error
    finally:
        connection.close()


def reason_in(content: bytes) -> str:
    """Return what an error's content says, in one line, without the frames of a Python model's traceback."""
    text = content.decode("utf-8", errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["error"])
    return " ".join(text.partition("\n\nAt:\n")[0].split())

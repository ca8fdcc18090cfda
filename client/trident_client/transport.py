"""One request to Triton, over gRPC or HTTP; both clients of tritonclient have the same calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from trident_client.errors import (
    InvalidRequestError,
    RequestTimeoutError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    translate,
)

Protocol = Literal["grpc", "http"]
Array = NDArray[Any]


class Transport:
    """A connection to a server.

    Args:
        url: ``host:port``; a scheme in front is dropped.
        protocol: What the port speaks.
        timeout_s: Seconds to wait for an answer.
        concurrency: Connections of the HTTP client.
    """

    def __init__(self, url: str, protocol: Protocol, timeout_s: float, concurrency: int) -> None:
        """Prepare the connection; nothing is sent yet."""
        self.url = url.split("://", 1)[-1].rstrip("/")
        self.timeout_s = timeout_s
        self._grpc = protocol == "grpc"
        self._library: ModuleType = triton_grpc if self._grpc else triton_http
        self._client: Any = (
            triton_grpc.InferenceServerClient(self.url)
            if self._grpc
            else triton_http.InferenceServerClient(
                self.url, concurrency=concurrency, connection_timeout=timeout_s, network_timeout=timeout_s
            )
        )

    def infer(self, model: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of a model for inputs that share their first dimension.

        Raises:
            ClientError: If the server does not answer, refuses, or leaves out an output.
        """
        sent = []
        for name, values in inputs.items():
            tensor = self._library.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            sent.append(tensor)
        wanted = [self._library.InferRequestedOutput(name) for name in outputs]
        limit = {"client_timeout": self.timeout_s} if self._grpc else {}
        try:
            answer = self._client.infer(model, sent, outputs=wanted, **limit)
        except InferenceServerException as error:
            raise translate(error, self.url, self.timeout_s) from error
        except TimeoutError as error:  # of the HTTP client's sockets
            raise RequestTimeoutError(
                f"no answer from {self.url} within {self.timeout_s:g} s: try again, or raise timeout_s"
            ) from error
        except OSError as error:  # of the HTTP client's sockets
            raise ServerUnavailableError(
                f"no server answers at {self.url}: start one with trident serve ({error.strerror or error})"
            ) from error
        found = {name: answer.as_numpy(name) for name in outputs}
        missing = [name for name, values in found.items() if values is None]
        if missing:
            raise UnexpectedAnswerError(f"the server at {self.url} left out {', '.join(missing)} of model {model}")
        return found

    def is_ready(self, model: str) -> bool:
        """Return whether the server answers and the model is loaded."""
        try:
            return bool(self._client.is_server_ready() and self._client.is_model_ready(model))
        except (InferenceServerException, OSError):
            return False

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def check_protocol(protocol: str) -> None:
    """Raise unless a protocol is known.

    Raises:
        InvalidRequestError: If it is not.
    """
    if protocol not in ("grpc", "http"):
        raise InvalidRequestError(f"protocol must be grpc or http, got {protocol!r}")

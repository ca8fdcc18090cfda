"""One request to Triton, over gRPC or HTTP; both clients of tritonclient have the same calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from types import ModuleType
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from trident_client.address import DEFAULT_PORTS, Protocol, parse_address, speaks_http
from trident_client.errors import (
    ClientError,
    InvalidRequestError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    timed_out,
    translate,
    unreachable,
)
from trident_client.results import ServerInfo
from trident_client.tls import Tls

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs of a model by name, and the version of the model that gave them."""

    tensors: Mapping[str, Array]
    model_version: int


class Transport:
    """A connection to a server.

    Args:
        url: ``host:port``; a scheme that names the protocol may stand in front.
        protocol: What the port speaks.
        timeout_s: Seconds to wait for an answer.
        concurrency: Connections of the HTTP client.
        tls: Of gRPC; None: none.

    Raises:
        InvalidRequestError: If url and protocol break a rule, or TLS is wanted over HTTP.
    """

    def __init__(
        self, url: str, protocol: Protocol, timeout_s: float, concurrency: int, tls: Tls | None = None
    ) -> None:
        """Prepare the connection; nothing is sent yet."""
        self.url = parse_address(url, protocol)
        self.timeout_s = timeout_s
        self._closed = False
        self._grpc = protocol == "grpc"
        if tls is not None and not self._grpc:
            raise InvalidRequestError("tls needs protocol grpc, got http: Triton's HTTP has no TLS")
        self._limit = {"client_timeout": timeout_s} if self._grpc else {}
        self._library: ModuleType = triton_grpc if self._grpc else triton_http
        self._client: Any = (
            triton_grpc.InferenceServerClient(self.url, **({} if tls is None else tls.options()))
            if self._grpc
            else triton_http.InferenceServerClient(
                self.url, concurrency=concurrency, connection_timeout=timeout_s, network_timeout=timeout_s
            )
        )

    def infer(self, model: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Answer:
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
        with self._own_errors():
            answer = self._client.infer(model, sent, outputs=wanted, **self._limit)
            found = {name: answer.as_numpy(name) for name in outputs}
            response = answer.get_response()
            version = int(response.model_version if self._grpc else response["model_version"])
        missing = [name for name, values in found.items() if values is None]
        if missing:
            raise UnexpectedAnswerError(f"the server at {self.url} left out {', '.join(missing)} of model {model}")
        return Answer(found, version)

    def server_info(self, model: str) -> ServerInfo:
        """Return name and version of the server, and the versions of a model that are loaded.

        Raises:
            ClientError: If the server does not answer, or the model is not loaded.
        """
        # What both protocols call as_json differs: over HTTP it is what comes anyway.
        options = {**self._limit, "as_json": True} if self._grpc else {}
        with self._own_errors():
            server = self._client.get_server_metadata(**options)
            versions = self._client.get_model_metadata(model, **options)["versions"]
            return ServerInfo(server["name"], server["version"], tuple(sorted(int(version) for version in versions)))

    def is_ready(self, model: str) -> bool:
        """Return whether the server answers and the model is loaded; a closed connection still raises."""
        try:
            with self._own_errors():
                if not self._client.is_server_ready(**self._limit):
                    return False
            self.server_info(model)  # a server that is not Triton may call every path ready
        except InvalidRequestError:
            raise
        except ClientError:
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._client.close()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Turn what tritonclient raises within the block into the client's errors."""
        if self._closed:
            raise InvalidRequestError("the client was closed: make a new SearchClient")
        try:
            yield
        except InferenceServerException as error:
            found = translate(error, self.url, self.timeout_s)
            if self._grpc and isinstance(found, ServerUnavailableError) and speaks_http(self.url):
                found = self._wrong_protocol("http")
            raise found from error
        except TimeoutError as error:  # of the HTTP client's sockets, as those below
            raise timed_out(self.url, self.timeout_s) from error
        except OSError as error:
            raise unreachable(self.url, error.strerror or str(error)) from error
        except HTTPException as error:
            if "Expected HTTP/" in str(error):
                raise self._wrong_protocol("grpc") from error
            raise unreachable(self.url, str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # of its parsers, which trust what they get
            raise UnexpectedAnswerError(f"what answers at {self.url} is no Triton server: {error!r}") from error

    def _wrong_protocol(self, spoken: Protocol) -> ServerUnavailableError:
        wanted: Protocol = "grpc" if self._grpc else "http"
        return ServerUnavailableError(
            f"the port at {self.url} speaks {spoken}, not {wanted}: pass protocol='{spoken}', or the server's {wanted} "
            f"port, {DEFAULT_PORTS[wanted]} by default"
        )

"""One request to Triton, over gRPC or HTTP; both clients of tritonclient have the same calls."""

from __future__ import annotations

import logging
import os
import ssl
import time
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

from trident_client.address import DEFAULT_PORTS, Protocol, grpc_proxy, parse_address, speaks_http
from trident_client.connection import Endpoint, secured
from trident_client.errors import (
    ClientError,
    InvalidRequestError,
    RequestTimeoutError,
    ServerGaveUpError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    timed_out,
    translate,
    unreachable,
    untrusted,
)
from trident_client.results import ServerInfo
from trident_client.tensors import DEADLINE
from trident_client.tls import Tls

Array = NDArray[Any]
FOR_EVER_S = 366 * 24 * 3600.0  # so long a limit is none: what waits cannot count as far as some numbers go

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs of a model by name, and the version of the model that gave them."""

    tensors: Mapping[str, Array]
    model_version: int


class Transport:
    """A connection to a server. In a process that was forked it is opened anew: a connection cannot be shared.

    Args:
        url: ``host:port``; a scheme that names the protocol may stand in front.
        protocol: What the port speaks.
        timeout_s: Seconds to wait for an answer; infinity: for ever.
        concurrency: Connections of the HTTP client.
        tls: None: as the url's scheme says.

    Raises:
        InvalidRequestError: If url, protocol and TLS do not go together.
    """

    def __init__(
        self, url: str, protocol: Protocol, timeout_s: float, concurrency: int, tls: Tls | None = None
    ) -> None:
        """Prepare the connection; nothing is sent yet."""
        address = parse_address(url, protocol)
        self.url = address.place
        self.timeout_s = timeout_s if timeout_s < FOR_EVER_S else None
        self._grpc = protocol == "grpc"
        self._endpoint = Endpoint(address, self._grpc, secured(address, tls), concurrency, self.timeout_s)
        self._library: ModuleType = triton_grpc if self._grpc else triton_http
        self._closed = False
        self._sends_deadline = self.timeout_s is not None
        self._opened_in = os.getpid()
        self._client: Any = self._endpoint.open()
        self._of_parent: list[Any] = []  # never closed here: that would reach into the parent's connections

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the outputs of a model for inputs that share their first dimension.

        Args:
            model: Its name.
            inputs: By name.
            outputs: Names of those that are wanted.
            headers: Sent along.

        Raises:
            ClientError: If the server does not answer, refuses, or leaves out an output.
        """
        started = time.monotonic()
        try:
            return self._infer(model, inputs, outputs, self.timeout_s, headers)
        except ServerGaveUpError:
            if self.timeout_s is None or not self._sends_deadline:
                raise
            left_s = self.timeout_s - (time.monotonic() - started)
            if left_s <= 0:
                raise
            log.warning(
                "the clock of the server at %s is %.1f s or more ahead of this machine's: it is told no deadline any "
                "more",
                self.url,
                left_s,
            )
            self._sends_deadline = False
            return self._infer(model, inputs, outputs, left_s, headers)

    def _infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        sent = []
        for name, values in inputs.items():
            tensor = self._library.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            sent.append(tensor)
        wanted = [self._library.InferRequestedOutput(name) for name in outputs]
        options: dict[str, Any] = {"client_timeout": timeout_s} if self._grpc else {}
        if headers:
            options["headers"] = dict(headers)
        if self._sends_deadline and timeout_s is not None:
            options["parameters"] = {DEADLINE: int((time.time() + timeout_s) * 1000)}
        with self._own_errors() as client:
            answer = client.infer(model, sent, outputs=wanted, **options)
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
        with self._own_errors() as client:
            server = client.get_server_metadata(**options)
            versions = client.get_model_metadata(model, **options)["versions"]
            return ServerInfo(server["name"], server["version"], tuple(sorted(int(version) for version in versions)))

    def is_ready(self, model: str) -> bool:
        """Return whether the server answers and the model is loaded; a closed connection still raises."""
        try:
            with self._own_errors() as client:
                if not client.is_server_ready(**self._limit):
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
        if self._opened_in == os.getpid():
            self._client.close()

    @property
    def _limit(self) -> dict[str, Any]:
        return {"client_timeout": self.timeout_s} if self._grpc else {}

    def _connected(self) -> Any:
        """Return the client of this process."""
        if self._opened_in != os.getpid():
            self._of_parent.append(self._client)
            self._opened_in = os.getpid()
            self._client = self._endpoint.open_in_child()
        return self._client

    @contextmanager
    def _own_errors(self) -> Iterator[Any]:
        """Yield tritonclient's client, and turn what it raises within the block into the client's errors."""
        if self._closed:
            raise InvalidRequestError("the client was closed: make a new SearchClient")
        try:
            yield self._connected()
        except InferenceServerException as error:
            found = translate(error, self.url, self.timeout_s)
            if self._grpc and isinstance(found, ServerUnavailableError) and speaks_http(self.url):
                found = self._wrong_protocol("http")
            raise self._with_proxy(found) from error
        except TimeoutError as error:  # of the HTTP client's sockets, as those below
            raise timed_out(self.url, self.timeout_s) from error
        except ssl.SSLCertVerificationError as error:
            raise untrusted(self.url, str(error)) from error
        except OSError as error:
            raise unreachable(self.url, error.strerror or str(error)) from error
        except HTTPException as error:
            if "Expected HTTP/" in str(error):
                raise self._wrong_protocol("grpc") from error
            raise unreachable(self.url, str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # of its parsers, which trust what they get
            raise UnexpectedAnswerError(f"what answers at {self.url} is no Triton server: {error!r}") from error

    def _with_proxy(self, error: ClientError) -> ClientError:
        """Return an error that names the proxy where one stands between and may be the reason."""
        proxy = grpc_proxy(self._endpoint.address) if self._grpc else None
        if proxy is None or not isinstance(error, ServerUnavailableError | RequestTimeoutError):
            return error
        host = self._endpoint.address.host
        return type(error)(
            f"{error}; asked through the proxy of the environment, {proxy}: no_proxy={host} goes without"
        )

    def _wrong_protocol(self, spoken: Protocol) -> ServerUnavailableError:
        wanted: Protocol = "grpc" if self._grpc else "http"
        return ServerUnavailableError(
            f"the port at {self.url} speaks {spoken}, not {wanted}: pass protocol='{spoken}', or the server's {wanted} "
            f"port, {DEFAULT_PORTS[wanted]} by default"
        )

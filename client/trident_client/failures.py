"""What libraries raise on the way, turned into the client's own errors."""

from __future__ import annotations

import asyncio
import ssl
from http.client import BadStatusLine, HTTPException

from tritonclient.utils import InferenceServerException

from trident_client.address import DEFAULT_PORTS, Protocol, grpc_proxy, speaks_http
from trident_client.connection import Endpoint
from trident_client.errors import (
    ClientError,
    RequestTimeoutError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    timed_out,
    translate,
    unreachable,
    untrusted,
)

PARSING = (ValueError, KeyError, TypeError, AttributeError)  # of parsers, which trust what they get
FAILURES = (InferenceServerException, asyncio.TimeoutError, OSError, HTTPException, *PARSING)
GRPC_GREETING = "\x00\x00"  # a frame of HTTP/2 begins with its length, which is small


def failure(error: Exception, endpoint: Endpoint) -> ClientError:
    """Return the client's error for one of ``FAILURES``; may ask the port what it speaks, for a second."""
    url = endpoint.url
    if isinstance(error, InferenceServerException):
        found = translate(error, url, endpoint.timeout_s)
        if endpoint.is_grpc and isinstance(found, ServerUnavailableError) and speaks_http(url):
            found = _wrong_protocol(endpoint, "http")
        return _with_proxy(found, endpoint)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):  # two kinds until Python 3.11
        return timed_out(url, endpoint.timeout_s)
    if isinstance(error, ssl.SSLCertVerificationError):
        return untrusted(url, str(error))
    if isinstance(error, OSError):
        return unreachable(url, error.strerror or str(error))
    if isinstance(error, BadStatusLine):
        line = str(error.args[0]) if error.args else ""
        if line.startswith(GRPC_GREETING):
            return _wrong_protocol(endpoint, "grpc")
        return UnexpectedAnswerError(f"what answers at {url} is no Triton server: {line[:60]!r}")
    if isinstance(error, HTTPException):
        return unreachable(url, str(error))
    return UnexpectedAnswerError(f"what answers at {url} is no Triton server: {error!r}")


def _with_proxy(error: ClientError, endpoint: Endpoint) -> ClientError:
    """Return an error that names the proxy where one stands between and may be the reason."""
    proxy = grpc_proxy(endpoint.address) if endpoint.is_grpc else None
    if proxy is None or not isinstance(error, ServerUnavailableError | RequestTimeoutError):
        return error
    host = endpoint.address.host
    return type(error)(f"{error}; asked through the proxy of the environment, {proxy}: no_proxy={host} goes without")


def _wrong_protocol(endpoint: Endpoint, spoken: Protocol) -> ServerUnavailableError:
    wanted: Protocol = "grpc" if endpoint.is_grpc else "http"
    return ServerUnavailableError(
        f"the port at {endpoint.url} speaks {spoken}, not {wanted}: pass protocol='{spoken}', or the server's {wanted} "
        f"port, {DEFAULT_PORTS[wanted]} by default"
    )

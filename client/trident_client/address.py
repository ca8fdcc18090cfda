"""The address of a server: what may be written, and what a port speaks when nothing else is understood."""

from __future__ import annotations

import socket
from typing import Literal, get_args

from trident_client.errors import InvalidRequestError

Protocol = Literal["grpc", "http"]
DEFAULT_PORTS = {"grpc": 8001, "http": 8000}
PROBE_TIMEOUT_S = 1.0


def parse_address(url: str, protocol: str) -> str:
    """Return ``host:port``, for HTTP with the path that a proxy may want behind it.

    Args:
        url: Such as ``127.0.0.1:8001``, ``grpc://search.shop:8001`` or ``http://[::1]:8000/triton``.
        protocol: What the port is said to speak.

    Raises:
        InvalidRequestError: If the protocol is unknown or not that of the url's scheme, or the port is missing.
    """
    if protocol not in get_args(Protocol):
        raise InvalidRequestError(f"protocol must be grpc or http, got {protocol!r}")
    scheme, _, rest = url.strip().rpartition("://")
    if scheme and scheme not in get_args(Protocol):
        raise InvalidRequestError(
            f"url must start with grpc:// or http:// or have no scheme, got {url!r}: pass tls=Tls(...) for TLS"
        )
    if scheme and scheme != protocol:
        raise InvalidRequestError(
            f"url {url!r} names {scheme}, but protocol is {protocol}: pass protocol='{scheme}', or the address of the "
            f"server's {protocol} port, {DEFAULT_PORTS[protocol]} by default"
        )
    place, slash, path = rest.rstrip("/").partition("/")
    host, _, port = place.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise InvalidRequestError(
            f"url must be host:port, such as 127.0.0.1:{DEFAULT_PORTS[protocol]} for {protocol}, got {url!r}"
        )
    if slash and protocol == "grpc":
        raise InvalidRequestError(f"url of gRPC must be host:port without a path, got {url!r}")
    return place + slash + path


def speaks_http(address: str) -> bool:
    """Return whether a web server answers at ``host:port``, and not one of gRPC."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False

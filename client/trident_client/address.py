"""The address of a server: what may be written, what stands between, and what a port speaks."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from trident_client.errors import InvalidRequestError

Protocol = Literal["grpc", "http"]
DEFAULT_PORTS = {"grpc": 8001, "http": 8000}
SCHEMES: dict[str, tuple[str, bool]] = {  # protocol, and whether it is inside TLS
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}
HTTPS_PORT = 443
PROBE_TIMEOUT_S = 1.0
# What gRPC looks at, in its order.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
NO_PROXIES = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    ``place`` is ``host:port``, for HTTP with the path that a proxy may want behind it; ``is_secure`` says whether the
    scheme asks for TLS, None where there is no scheme.
    """

    place: str
    is_secure: bool | None = None

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self.place.partition("/")[0].rpartition(":")[0].strip("[]")

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine itself."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def protocol_of(url: str, protocol: Protocol | None) -> Protocol:
    """Return what is spoken: as asked for, else as the url's scheme says, else gRPC.

    Raises:
        InvalidRequestError: If the protocol is unknown.
    """
    if protocol is None:
        scheme = url.strip().partition("://")[0]
        return "http" if scheme in ("http", "https") else "grpc"
    if protocol not in get_args(Protocol):
        raise InvalidRequestError(f"protocol must be grpc or http, got {protocol!r}")
    return protocol


def parse_address(url: str, protocol: str) -> Address:
    """Return the address that a url names.

    Args:
        url: Such as ``127.0.0.1:8001``, ``grpc://search.shop:8001``, ``http://[::1]:8000/triton`` or
            ``https://search.shop``.
        protocol: What the port is said to speak.

    Raises:
        InvalidRequestError: If the protocol is not that of the url's scheme, or the port is missing.
    """
    scheme, _, rest = url.strip().rpartition("://")
    if scheme and scheme not in SCHEMES:
        raise InvalidRequestError(
            f"url must start with {', '.join(f'{name}://' for name in SCHEMES)} or have no scheme, got {url!r}"
        )
    spoken, is_secure = SCHEMES[scheme] if scheme else (protocol, None)
    if spoken != protocol:
        raise InvalidRequestError(
            f"url {url!r} names {scheme}, but protocol is {protocol}: pass protocol='{spoken}', or the address of the "
            f"server's {protocol} port, {DEFAULT_PORTS[protocol]} by default"
        )
    place, slash, path = rest.rstrip("/").partition("/")
    if scheme == "https" and place and ":" not in place.rpartition("]")[2]:
        place = f"{place}:{HTTPS_PORT}"
    host, _, port = place.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise InvalidRequestError(
            f"url must be host:port, such as 127.0.0.1:{DEFAULT_PORTS[protocol]} for {protocol}, got {url!r}"
        )
    if slash and protocol == "grpc":
        raise InvalidRequestError(f"url of gRPC must be host:port without a path, got {url!r}")
    return Address(place + slash + path, is_secure)


def grpc_proxy(address: Address) -> str | None:
    """Return the proxy of the environment that gRPC goes through to an address, such as ``https_proxy=shop:3128``.

    None: it connects by itself, as it always does to this machine.
    """
    if address.is_loopback:
        return None
    name = next((name for name in PROXIES if os.environ.get(name)), None)
    direct = next((os.environ[name] for name in NO_PROXIES if os.environ.get(name)), "")
    if name is None or any(address.host.endswith(part.strip()) for part in direct.split(",") if part.strip()):
        return None
    proxy = os.environ[name]
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]  # never its password
    return f"{name}={place}"


def http_proxy(address: Address, *, is_secure: bool) -> str | None:
    """Return the proxy of the environment that HTTP goes through to an address, as a url; None: it goes directly."""
    if address.is_loopback or proxy_bypass(address.host):
        return None
    proxy = getproxies().get("https" if is_secure else "http")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def speaks_http(place: str) -> bool:
    """Return whether a web server answers at ``host:port``, and not one of gRPC."""
    host, _, port = place.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False

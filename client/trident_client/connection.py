"""What a client connects to, and how; opens tritonclient's gRPC clients, without the proxy for this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from trident_client.address import Address, Protocol, parse_address, protocol_of
from trident_client.behaviour import Behaviour
from trident_client.errors import InvalidRequestError
from trident_client.tls import Tls

LARGEST_MESSAGE = 2**31 - 1  # bytes; tritonclient's own default
FOR_EVER_S = 366 * 24 * 3600.0  # so long a limit is none: what waits cannot count as far as some numbers go


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server, and how it is spoken to.

    Attributes:
        address: Where it listens.
        is_grpc: Whether that port speaks gRPC; else HTTP.
        tls: None where it speaks none.
        concurrency: Connections that an HTTP client keeps open between requests, at least.
        timeout_s: Seconds to wait for an answer; None: for ever.
        behaviour: Repeats, headers and the like.
    """

    address: Address
    is_grpc: bool
    tls: Tls | None
    concurrency: int
    timeout_s: float | None
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def url(self) -> str:
        """``host:port`` and, over HTTP, the path behind it."""
        return self.address.place

    def grpc_options(self, library: Any, *, after_fork: bool = False) -> dict[str, Any]:
        """Return the arguments of a gRPC client of tritonclient.

        Args:
            library: Its module.
            after_fork: Whether this process was forked from one with such a client, whose connections gRPC would
                hand to channels of the same arguments here too: "Wrong file descriptor generation".
        """
        options = {} if self.tls is None else self.tls.grpc_options()
        own = [("grpc.enable_http_proxy", 0)] if self.address.is_loopback else []
        own += [("grpc.use_local_subchannel_pool", 1)] if after_fork else []
        if own:
            options["channel_args"] = [*_channel_arguments(library), *own]
        return {"url": self.address.place, **options}


@dataclass(frozen=True)
class Deadline:
    """The moment until which an answer is waited for, on the clock of ``time.monotonic``; None: for ever."""

    at: float | None

    @classmethod
    def after(cls, timeout_s: float | None) -> Deadline:
        """Return the deadline that comes after a time."""
        return cls(None if timeout_s is None else time.monotonic() + timeout_s)

    def left_s(self) -> float | None:
        """Return the seconds that are left; None: there is no deadline.

        Raises:
            TimeoutError: If none are.
        """
        if self.at is None:
            return None
        left_s = self.at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return left_s

    def unix_ms(self) -> int | None:
        """Return it as the server is told, in milliseconds since 1970."""
        left_s = self.left_s()
        return None if left_s is None else int((time.time() + left_s) * 1000)


@dataclass(frozen=True, kw_only=True)
class Connecting:
    """How to connect to a server, as a client's arguments say."""

    protocol: Protocol | None
    timeout_s: float
    concurrency: int
    tls: Tls | None
    behaviour: Behaviour | None

    def endpoint(self, url: str) -> Endpoint:
        """Return the endpoint at a url.

        Raises:
            InvalidRequestError: If an argument breaks a rule.
        """
        if not self.timeout_s > 0:
            raise InvalidRequestError(f"timeout_s must be > 0, got {self.timeout_s}")
        if self.concurrency < 1:
            raise InvalidRequestError(f"concurrency must be >= 1, got {self.concurrency}")
        spoken = protocol_of(url, self.protocol)
        address = parse_address(url, spoken)
        return Endpoint(
            address=address,
            is_grpc=spoken == "grpc",
            tls=secured(address, self.tls),
            concurrency=self.concurrency,
            timeout_s=self.timeout_s if self.timeout_s < FOR_EVER_S else None,
            behaviour=self.behaviour or Behaviour(),
        )


def secured(address: Address, tls: Tls | None) -> Tls | None:
    """Return the TLS that an address and an argument ask for together.

    Raises:
        InvalidRequestError: If the address says that there is none.
    """
    if tls is not None and address.is_secure is False:
        raise InvalidRequestError(
            f"url of {address.place} names a scheme without TLS, but tls is given: write grpcs:// or https://, or "
            "leave the scheme out"
        )
    return Tls() if tls is None and address.is_secure else tls


def _channel_arguments(library: Any) -> list[tuple[str, int]]:
    """Return what tritonclient sets where it is given no arguments of a channel."""
    alive = library.KeepAliveOptions()
    return [
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.keepalive_time_ms", alive.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", alive.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", alive.keepalive_permit_without_calls),
        ("grpc.http2.max_pings_without_data", alive.http2_max_pings_without_data),
    ]

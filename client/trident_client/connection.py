"""Opens tritonclient's own clients: one for gRPC, one for HTTP, with TLS, without the proxy for this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gevent
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import KeepAliveOptions

from trident_client.address import Address
from trident_client.errors import InvalidRequestError
from trident_client.tls import Tls

LARGEST_MESSAGE = 2**31 - 1  # bytes; tritonclient's own default


@dataclass(frozen=True)
class Endpoint:
    """A server, and how it is spoken to.

    Attributes:
        address: Where it listens.
        is_grpc: Whether that port speaks gRPC; else HTTP.
        tls: None where it speaks none.
        concurrency: Connections of an HTTP client.
        timeout_s: Seconds to wait for an answer; None: for ever.
    """

    address: Address
    is_grpc: bool
    tls: Tls | None
    concurrency: int
    timeout_s: float | None

    def open(self) -> Any:
        """Return a client of tritonclient; nothing is sent yet."""
        return self._open_grpc() if self.is_grpc else self._open_http()

    def open_in_child(self) -> Any:
        """Return such a client in a process that was forked off one that had a client."""
        if not self.is_grpc:
            gevent.reinit()  # what the HTTP client waits with; gRPC looks after itself
        return self.open()

    def _open_grpc(self) -> Any:
        options = {} if self.tls is None else self.tls.grpc_options()
        if self.address.is_loopback:
            options["channel_args"] = [*_channel_arguments(), ("grpc.enable_http_proxy", 0)]
        return triton_grpc.InferenceServerClient(self.address.place, **options)

    def _open_http(self) -> Any:
        options = {} if self.tls is None else self.tls.http_options()
        return triton_http.InferenceServerClient(
            self.address.place,
            concurrency=self.concurrency,
            connection_timeout=self.timeout_s,
            network_timeout=self.timeout_s,
            **options,
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


def _channel_arguments() -> list[tuple[str, int]]:
    """Return what tritonclient sets where it is given no arguments of a channel."""
    alive = KeepAliveOptions()
    return [
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.keepalive_time_ms", alive.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", alive.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", alive.keepalive_permit_without_calls),
        ("grpc.http2.max_pings_without_data", alive.http2_max_pings_without_data),
    ]

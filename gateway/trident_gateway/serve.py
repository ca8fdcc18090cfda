"""Runs the gateway until it is told to stop."""

from __future__ import annotations

import contextlib
import socket

import uvicorn

from trident_gateway.app import create_app
from trident_gateway.config import GatewayConfig

BACKLOG = 2048  # connections that wait, uvicorn's own default


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        OSError: If that is not to be had: another program listens there, or it is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # asyncio sets it only for sockets that were made with a protocol's number; connections inherit this one. Without it
    # an answer's body waits 40 ms for the acknowledgement of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(config: GatewayConfig, listening: socket.socket) -> None:
    """Answer at an address; access is not logged, since queries may be personal.

    Raises:
        InvalidRequestError: If the server's address breaks a rule.
    """
    server = uvicorn.Server(uvicorn.Config(create_app(config), log_level="warning", access_log=False))
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])

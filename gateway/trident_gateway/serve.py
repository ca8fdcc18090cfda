"""Runs the gateway until it is told to stop."""

from __future__ import annotations

import uvicorn

from trident_gateway.app import create_app
from trident_gateway.config import GatewayConfig


def run(config: GatewayConfig, *, host: str, port: int) -> None:
    """Answer at an address; access is not logged, since queries may be personal.

    Raises:
        InvalidRequestError: If the server's address breaks a rule.
    """
    uvicorn.run(create_app(config), host=host, port=port, log_level="warning", access_log=False)

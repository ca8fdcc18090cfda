"""A gateway in a thread of the test, on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from trident_gateway import GatewayConfig, create_app


@contextmanager
def running(config: GatewayConfig) -> Iterator[int]:
    """Yield the port of a gateway."""
    with serving(create_app(config)) as port:
        yield port


@contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """Yield the port of a gateway that was made already."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()

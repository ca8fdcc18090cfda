"""Spans of OpenTelemetry around requests; what was asked is never in them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trident_client.connection import Endpoint
from trident_client.errors import InvalidRequestError
from trident_client.requests import Request


class Spans:
    """Opens a span for each request, where the client's behaviour asks for them.

    Raises:
        InvalidRequestError: If they are asked for and OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Find OpenTelemetry."""
        self._endpoint = endpoint
        self._tracer: Any = None
        self._inject: Any = None
        if not endpoint.behaviour.spans:
            return
        try:
            trace = importlib.import_module("opentelemetry.trace")
            self._inject = importlib.import_module("opentelemetry.propagate").inject
        except ImportError as error:
            raise InvalidRequestError(
                "spans need OpenTelemetry: pip install 'trident-client[otel]', or Behaviour(spans=False)"
            ) from error
        self._tracer = trace.get_tracer("trident_client")

    @contextmanager
    def around(self, request: Request) -> Iterator[dict[str, str]]:
        """Yield the headers that tell the server of the span; an error within is written down by its kind alone."""
        if self._tracer is None:
            yield {}
            return
        host, _, port = self._endpoint.url.partition("/")[0].rpartition(":")
        attributes = {
            "rpc.system": "grpc" if self._endpoint.is_grpc else "http",
            "server.address": host.strip("[]"),
            "server.port": int(port),
            "trident.model": request.model,
            "trident.rows": len(request.texts),
            "trident.request_id": request.id,
        }
        with self._tracer.start_as_current_span(
            f"trident {request.model}", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            headers: dict[str, str] = {}
            self._inject(headers)
            try:
                yield headers
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                raise

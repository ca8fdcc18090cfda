"""What others may see of a request: nothing of its text, and spans only where they were asked for."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from trident_client import AsyncSearchClient, Behaviour, ClientError, InvalidRequestError, SearchClient


def test_no_query_is_logged(triton: Any, form: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    triton.orders.extend([None, "broken", "overloaded"])
    question = ("search", ("a private sofa",))
    form.asked(triton, question)
    with pytest.raises(ClientError) as caught:
        form.asked(triton, question)
    form.asked(triton, question, behaviour=Behaviour(retries=1))
    assert "private" not in str(caught.value)
    assert "private" not in caplog.text


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_each_request_is_a_span_without_its_text(triton: Any, form: Any, spans: InMemorySpanExporter) -> None:
    spans.clear()
    triton.orders.extend([None, "refused"])
    behaviour = Behaviour(spans=True)
    form.asked(triton, ("search_many", (["a private sofa", "b"],)), behaviour=behaviour)
    with pytest.raises(InvalidRequestError):
        form.asked(triton, behaviour=behaviour)
    first, second = spans.get_finished_spans()
    assert first.name == "trident search"
    assert first.attributes is not None
    assert second.attributes is not None
    assert (first.attributes["trident.rows"], first.attributes["server.port"]) == (2, triton.ports[form.protocol])
    assert first.attributes["trident.request_id"] == triton.seen[0]["id"]
    assert second.attributes["error.type"] == "InvalidRequestError"
    assert "private" not in first.to_json()
    assert f"{first.context.trace_id:032x}" in triton.seen[0]["headers"]["traceparent"]


def test_spans_without_opentelemetry_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    for client in (SearchClient, AsyncSearchClient):
        with pytest.raises(
            InvalidRequestError, match=r"^spans need OpenTelemetry: pip install 'trident-client\[otel\]'"
        ):
            client(behaviour=Behaviour(spans=True))

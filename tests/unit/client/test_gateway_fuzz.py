"""Requests made from the gateway's own OpenAPI, right and wrong ones: each gets an answer or a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from gateways import running
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from trident_gateway import GatewayConfig

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
NAMES = {
    "GET /about",
    "GET /catalogue",
    "GET /healthz",
    "GET /suggest",
    "GET /v1/models",
    "POST /catalogue",
    "POST /other/search",
    "POST /search",
    "POST /v1/embeddings",
}
SPEECHLESS = {"GET /about", "GET /catalogue", "GET /healthz", "GET /v1/models"}


@pytest.fixture
def address(triton: Any) -> Iterator[str]:
    url = f"http://127.0.0.1:{triton.ports['http']}"
    config = GatewayConfig(url=url, other_url=url, page=True, max_texts=8)
    with running(config) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_request_gets_an_answer_or_a_sentence(address: str, triton: Any, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    assert {each.label for each in operations} == NAMES
    statuses: set[int] = set()
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and operation.label in SPEECHLESS:
            continue  # nothing can be said to them that is wrong

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            reply = case.call(timeout=30)
            statuses.add(reply.status_code)
            case.validate_response(reply, checks=CHECKS)
            if reply.status_code != 200:
                said = reply.json()["error"]["message"]
                assert said
                assert "\n" not in said
                assert len(said) < 2000

        check()
    assert 200 in statuses if mode is GenerationMode.POSITIVE else 400 in statuses
    assert statuses <= {200, 400, 403, 404, 405, 406, 413, 415}

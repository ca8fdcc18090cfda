"""Made requests in Triton's HTTP form: each gets an answer or a sentence, and the server goes on answering.

Values are whatever hypothesis makes; the form is kept, since what Triton itself does with broken JSON is its own.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from trident.server.server import TritonServer

INT64 = st.integers(-(2**63), 2**63 - 1)
FP32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
words = st.text(max_size=80) | st.sampled_from(["navy sofa", " ", "a" * 10_001, "ivory lamp" * 200, "\u202esofa"])
KEYS = ("filter", "fields", "facets", "sort", "group", "offset", "like", "mode", "explain", "rerank", "spelling")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
options = st.text(max_size=40) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), anything, max_size=3).map(
    json.dumps
)
KINDS = {"query": ("BYTES", words), "k": ("INT64", INT64 | st.integers(0, 1100)), "ef": ("INT64", INT64)}
KINDS |= {"min_score": ("FP32", FP32), "options": ("BYTES", options)}
OF_EMBED = {"text": ("BYTES", words), "side": ("BYTES", st.sampled_from(["query", "product"]) | st.text(max_size=8))}


@st.composite
def requests(draw: Any, kinds: dict[str, Any], needed: tuple[str, ...]) -> dict[str, Any]:
    rows = draw(st.integers(1, 3))
    named = [*needed, *(name for name in kinds if name not in needed and draw(st.booleans()))]
    inputs = []
    for name in named:
        datatype, values = kinds[name]
        data = draw(st.lists(values, min_size=rows, max_size=rows))
        inputs.append({"name": name, "shape": [rows, 1], "datatype": datatype, "data": data})
    return {"inputs": inputs}


def check_all(server: TritonServer, model: str, strategy: Any, bounds: Any, started_from: int) -> set[int]:
    """Send what a strategy makes, and return the statuses."""
    connection = http.client.HTTPConnection(server.urls.http, timeout=60)
    statuses: set[int] = set()

    def asked(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body))
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    @seed(started_from)
    @bounds
    @given(body=strategy)
    def check(body: dict[str, Any]) -> None:
        status, found = asked(body)
        statuses.add(status)
        if status == 200:
            rows = body["inputs"][0]["shape"][0]
            assert all(each["shape"][0] == rows for each in found["outputs"])
        else:
            assert 400 <= status < 500
            assert len(found["error"].strip()) > 10

    check()
    connection.close()
    return statuses


def is_well(server: TritonServer) -> bool:
    connection = http.client.HTTPConnection(server.urls.http, timeout=60)
    connection.request("GET", "/v2/models/search/ready")
    ready = connection.getresponse()
    ready.read()
    text = {"name": "query", "shape": [1, 1], "datatype": "BYTES", "data": ["navy sofa"]}
    connection.request("POST", "/v2/models/search/infer", json.dumps({"inputs": [text]}))
    reply = connection.getresponse()
    outputs = {each["name"]: each["data"] for each in json.loads(reply.read())["outputs"]}
    connection.close()
    return ready.status == reply.status == 200 and outputs["count"] == [10]


SHORT = settings(max_examples=150, deadline=None, database=None)
LONG = settings(max_examples=5000, deadline=None, database=None)
SEARCH, EMBED = requests(KINDS, ("query",)), requests(OF_EMBED, ("text", "side"))


@pytest.mark.parametrize(("model", "strategy"), [("search", SEARCH), ("embed", EMBED)], ids=["search", "embed"])
def test_made_requests_are_answered_or_refused(tiny_server: TritonServer, model: str, strategy: Any) -> None:
    assert check_all(tiny_server, model, strategy, SHORT, 33) == {200, 400}
    assert is_well(tiny_server)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "strategy"), [("search", SEARCH), ("embed", EMBED)], ids=["search", "embed"])
def test_many_made_requests(tiny_server: TritonServer, model: str, strategy: Any, slow_seed: int) -> None:
    assert check_all(tiny_server, model, strategy, LONG, slow_seed) == {200, 400}
    assert is_well(tiny_server)

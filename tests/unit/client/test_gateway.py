"""The gateway over a real socket: JSON searches, the openai SDK, its gates, and one sentence for whatever is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import inspect
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openai
import pytest
from gateways import running, serving
from pydantic import ValidationError

from trident_client import AsyncSearchClient, InvalidRequestError, SearchClient, ServerUnavailableError
from trident_gateway import GatewayConfig, create_app
from trident_gateway.attributes import Remembered
from trident_gateway.forms import Found, OperationsForm, SearchForm
from trident_gateway.serve import listen

KEY = "a-key-of-some-length"


@pytest.fixture
def gateway(triton: Any) -> Iterator[int]:
    with running(GatewayConfig(url=f"grpc://127.0.0.1:{triton.ports['grpc']}", max_body_bytes=5000)) as port:
        yield port


def ask(
    port: int, path: str, body: Any = None, *, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Return status, document and headers of a reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
    found = {"content-type": "application/json", **(headers or {})}
    connection.request(method or ("GET" if body is None else "POST"), path, body=sent, headers=found)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, json.loads(content) if content else None, {n.lower(): v for n, v in reply.getheaders()}


def test_a_search_is_json(gateway: int, triton: Any) -> None:
    status, found, _ = ask(gateway, "/search", {"query": "Größe 4", "k": 3, "options": {}})
    assert status == 200
    assert found["hits"] == [
        {
            "product_id": "Größe 4",
            "score": 0.5,
            "title": "Größe 4",
            "attributes": {},
            "probability": None,
            "explain": {},
        }
    ]
    assert (found["query"], found["generation"], found["model_version"], found["details"]) == ("Größe 4", "g1", 7, {})
    assert found["id"] == f"{triton.seen[0]['id']}-0"


def test_what_a_search_can_be_told_is_told_by_name(gateway: int, triton: Any) -> None:
    """All that the client's own search takes; the answer is the client's, and has the form that OpenAPI shows."""
    own = set(inspect.signature(SearchClient.search).parameters) - {"self"}
    assert set(SearchForm.model_fields) == own
    triton.details = {"attributes": [{"brand": "HP"}], "explain": [{"cosine": 0.5}], "probability": [0.25]}
    given = {"filter": {"price": {"lt": 5}}, "sort": "-price", "fields": ["brand"], "offset": 2, "spelling": False}
    status, found, headers = ask(gateway, "/search", given)
    assert (status, headers["server-timing"][:11]) == (200, "triton;dur=")
    options = {**given, "offset": 2}
    assert json.loads(triton.seen[0]["tensors"]["options"][0]) == options
    with SearchClient(f"grpc://127.0.0.1:{triton.ports['grpc']}") as client:
        result = client.search(**given)  # type: ignore[arg-type]
    shown = json.loads(json.dumps(dataclasses.asdict(result)))
    assert {**found, "id": ""} == {**shown, "id": ""}
    assert Found(**found).model_dump() == found
    triton.details = {}
    assert {**ask(gateway, "/search", {"query": "sofa"})[1], "id": "", "query": ""} != found
    defaults = {name: each.default for name, each in inspect.signature(SearchClient.search).parameters.items()}
    assert all(defaults[name] == field.default for name, field in SearchForm.model_fields.items())


def test_a_number_that_is_none_is_the_server_s_fault(gateway: int, triton: Any) -> None:
    triton.details = {"probability": [float("nan")]}
    status, said, _ = ask(gateway, "/search", {"query": "sofa"})
    assert status == 502
    assert said["error"]["message"].startswith("an answer must be made of finite numbers")


def test_a_catalogue_is_written_by_who_has_its_key(gateway: int, triton: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_WRITE_KEY", "of-the-gateway-s-own-shell")
    operations = {"operations": [{"op": "upsert", "id": "a", "title": "A"}, {"op": "delete", "id": "b"}]}
    for asked in (lambda: ask(gateway, "/catalogue", operations), lambda: ask(gateway, "/catalogue")):
        status, said, _ = asked()
        assert (status, said["error"]["type"]) == (403, "permission_error")
        assert said["error"]["message"] == "the catalogue's write key is needed, as Trident-Write-Key: KEY; got none"
    assert triton.seen == []
    key = {"trident-write-key": "secret"}
    status, found, _ = ask(gateway, "/catalogue", operations, headers=key)
    assert (status, found) == (200, {"number": 3, "done": 1, "stale": ["b"], "touched": [], "unknown": []})
    assert ask(gateway, "/catalogue", headers=key)[1]["number"] == 3
    assert [each["headers"]["trident-write-key"] for each in triton.seen] == ["secret", "secret"]
    assert json.loads(triton.seen[0]["tensors"]["operations"][0]) == operations["operations"]
    for body in ({}, {"operations": []}, {"operations": ["a"]}, {"operations": [{}], "key": "secret"}):
        assert ask(gateway, "/catalogue", body, headers=key)[0] == 400
    assert len(triton.seen) == 2


def test_more_operations_than_a_request_takes_are_refused_whole() -> None:
    """In two requests the first would stay written where the second fails."""
    rows = [{"op": "delete", "id": f"p{row}"} for row in range(1001)]
    assert len(OperationsForm(operations=rows[:1000]).operations) == 1000  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"at most 1000 items after validation, not 1001"):
        OperationsForm(operations=rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("order", "status"), [("no key", 403), ("full", 507), ("stopped", 503), ("follows", 409), ("unknown", 502)]
)
def test_what_a_catalogue_refuses_has_a_status(gateway: int, triton: Any, order: str, status: int) -> None:
    triton.orders.append(order)
    found, said, _ = ask(gateway, "/catalogue", {"operations": [{"op": "delete", "id": "a"}]}, headers=WRITES)
    assert (found, said["error"]["code"], said["error"]["message"]) == (status, status, "said so")


WRITES = {"trident-write-key": "secret"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "query must not be empty, got ''"),
        ({"query": "a", "filter": [1]}, "filter: Input should be a valid dictionary"),
        ({"query": "a", "filter": {"a": 1}, "options": {"filter": {}}}, "filter must be given by name or in options"),
        ({"query": "a", "mode": "both"}, "mode: Input should be 'hybrid', 'dense' or 'lexical'"),
        ({"query": "a", "rules": 0}, "rules: Input should be a valid boolean"),
        ({"query": ""}, "query must not be empty, got ''"),
        ({"query": 3}, "query: Input should be a valid string"),
        ({"query": "a", "k": True}, "k: Input should be a valid integer"),
        ({"query": "a", "k": "3"}, "k: Input should be a valid integer"),
        ({"query": "a", "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"query": "a", "k": 1001}, "k: Input should be less than or equal to 1000"),
        ({"query": "a", "min_score": 2}, "min_score: Input should be less than or equal to 1"),
        ({"query": "a", "top_k": 3}, "top_k: Extra inputs are not permitted"),
        ({"query": "a", "options": []}, "options: Input should be a valid dictionary"),
        (b'{"query": "\\ud83d"}', ""),
        (b'{"query": "a", "min_score": NaN}', "min_score: "),
        (b'{"query": "a", "\\ud83d": 1}', ""),
        (b"{", "JSON decode error"),
        (b"[" * 4000, ""),
        (b"[]", "Input should be"),
        (b"\xff\xfe", ""),
    ],
)
def test_a_bad_search_is_refused_in_a_sentence(gateway: int, triton: Any, body: Any, message: str) -> None:
    status, said, _ = ask(gateway, "/search", body)
    assert status == 400
    assert message in said["error"]["message"]
    assert "\n" not in said["error"]["message"]
    assert triton.seen == []


@pytest.mark.parametrize(
    ("order", "status", "retry_after"),
    [
        ("overloaded", 429, "1"),
        ("loading", 503, "1"),
        ("refused", 400, None),
        ("broken", 502, None),
        ("guarded", 502, None),
    ],
)
def test_the_server_s_errors_have_statuses(
    gateway: int, triton: Any, order: str, status: int, retry_after: str | None
) -> None:
    triton.orders.append(order)
    found, said, headers = ask(gateway, "/search", {"query": "sofa"})
    assert (found, headers.get("retry-after")) == (status, retry_after)
    assert said["error"]["code"] == status


def test_a_server_that_gave_up_is_a_timeout(gateway: int, triton: Any) -> None:
    triton.orders.extend(["gave up"] * 2)  # the first as by a clock that is ahead
    status, said, _ = ask(gateway, "/search", {"query": "sofa"})
    assert (status, said["error"]["type"]) == (504, "timeout_error")


def test_a_slow_server_is_a_timeout(triton: Any) -> None:
    triton.orders.append(1.0)
    with running(GatewayConfig(url=f"http://127.0.0.1:{triton.ports['http']}", timeout_s=0.3)) as port:
        assert ask(port, "/search", {"query": "sofa"})[0] == 504


def test_health_and_what_there_is(gateway: int) -> None:
    assert ask(gateway, "/healthz")[:2] == (200, {"status": "ready"})
    assert {"/search", "/v1/embeddings", "/healthz"} <= ask(gateway, "/openapi.json")[1]["paths"].keys()
    assert ask(gateway, "/docs")[0] == 404
    assert ask(gateway, "/search")[0] == 405
    assert ask(gateway, "/elsewhere")[1]["error"]["message"] == "Not Found"
    with running(GatewayConfig(url="127.0.0.1:9", timeout_s=2)) as port:
        status, said, headers = ask(port, "/healthz")
        assert (status, said, headers["retry-after"]) == (503, {"status": "not ready"}, "1")


def vectors(client: openai.OpenAI, model: str, texts: Any, **options: Any) -> np.ndarray:
    answer = client.embeddings.create(model=model, input=texts, **options)
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return np.array([each.embedding for each in answer.data], dtype=np.float32)


def test_the_openai_sdk_gets_the_same_bits(gateway: int, triton: Any) -> None:
    texts = ["sofa", "a lamp", "Größe"] * 30
    with SearchClient(f"grpc://127.0.0.1:{triton.ports['grpc']}") as client:
        own = client.embed(texts)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway}/v1", api_key="any", max_retries=0) as sdk:
        assert vectors(sdk, "trident-query", texts).tobytes() == own.tobytes()  # asks for base64
        assert vectors(sdk, "trident-query", texts, encoding_format="float").tobytes() == own.tobytes()
        assert vectors(sdk, "trident-product", "sofa", dimensions=2).tolist() == [[4.0, 1.0]]
        assert [model.id for model in sdk.models.list()] == ["trident-query", "trident-product"]
        usage = sdk.embeddings.create(model="trident-query", input=["a b", "c"]).usage
        assert (usage.prompt_tokens, usage.total_tokens) == (3, 3)


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        ({"input": [1, 2]}, r"token ids, .* OpenAIEmbeddings\(check_embedding_ctx_length=False\)"),
        ({"input": [[1, 2], [3]]}, "token ids"),
        ({"input": []}, "a list of at least one query is needed"),
        ({"input": ["a", ""]}, r"query must not be empty, got '' \(query 2 of 2\)"),
        ({"input": "a", "dimensions": 3}, "dimensions must be 2, those of the model, got 3"),
        ({"input": "a", "model": "text-embedding-3-small"}, "model: Input should be 'trident-query' or"),
        ({"input": ["a"] * 2049}, "at most 2,048 texts, got 2,049|at most 5,000 bytes"),
    ],
)
def test_bad_embeddings_are_refused(triton: Any, request_of: dict[str, Any], message: str) -> None:
    with (
        running(GatewayConfig(url=f"grpc://127.0.0.1:{triton.ports['grpc']}")) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0) as sdk,
        pytest.raises(openai.BadRequestError, match=message),
    ):
        sdk.embeddings.create(**{"model": "trident-query", "encoding_format": "float", **request_of})


def test_the_sdk_waits_out_an_overload(gateway: int, triton: Any) -> None:
    triton.orders.append("overloaded")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway}/v1", api_key="any", max_retries=2) as sdk:
        assert vectors(sdk, "trident-query", ["sofa"]).tolist() == [[4.0, 1.0]]
    assert len(triton.seen) == 2


def test_a_body_that_is_too_large_is_refused(gateway: int, triton: Any) -> None:
    status, said, _ = ask(gateway, "/search", {"query": "a" * 5000})
    assert status == 413
    assert said["error"]["message"].startswith("a request must have at most 5,000 bytes, got more")
    parts = iter([b'{"query": "', b"a" * 6000, b'"}'])  # its size is not said
    connection = http.client.HTTPConnection("127.0.0.1", gateway, timeout=30)
    connection.request("POST", "/search", body=parts, headers={"content-type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert triton.seen == []


def test_a_key_is_asked_of_everything_but_health(triton: Any) -> None:
    with running(GatewayConfig(url=f"grpc://127.0.0.1:{triton.ports['grpc']}", api_key=KEY)) as port:
        for headers in ({}, {"x-api-key": "another"}, {"authorization": f"Basic {KEY}"}, {"x-api-key": "Größe"}):
            status, said, _ = ask(port, "/search", {"query": "a"}, headers=dict(headers))
            assert (status, said["error"]["type"]) == (401, "authentication_error")
            assert KEY not in json.dumps(said)
        for headers in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}):
            assert ask(port, "/search", {"query": "a"}, headers=headers)[0] == 200
        assert ask(port, "/healthz")[0] == 200
        assert ask(port, "/openapi.json")[0] == 401


def test_what_is_no_json_is_told_how(gateway: int, triton: Any) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        status, said, _ = ask(gateway, "/search", {"query": "a"}, headers={"content-type": kind})
        expected = f"a request must be JSON, got {kind!r}: send the header content-type: application/json"
        assert (status, said["error"]["message"]) == (400, expected)
    for kind in ("application/json; charset=utf-8", "application/vnd.shop+json"):
        assert ask(gateway, "/search", {"query": "a"}, headers={"content-type": kind})[0] == 200
    assert len(triton.seen) == 2


def test_what_breaks_inside_is_a_sentence_too() -> None:
    app = create_app(GatewayConfig(url="127.0.0.1:9"))

    @app.get("/breaks")
    def breaks() -> float:
        return 1 / 0

    with serving(app) as port:
        status, said, _ = ask(port, "/breaks")
    assert (status, said["error"]["type"]) == (500, "server_error")
    assert said["error"]["message"] == "the gateway failed (ZeroDivisionError): its log says where"


def test_attributes_are_asked_for_once_in_a_while(triton: Any) -> None:
    async def ask_often() -> None:
        async with AsyncSearchClient(f"grpc://127.0.0.1:{triton.ports['grpc']}") as client:
            remembered, forgetful = Remembered(client), Remembered(client, for_s=0.0)
            for _ in range(3):
                assert await remembered.get() == []
            assert len(triton.seen) == 1
            for _ in range(3):
                await forgetful.get()
            assert len(triton.seen) == 4
            triton.orders.append("loading")
            with pytest.raises(ServerUnavailableError):
                await forgetful.get()
            assert await forgetful.get() == []

    asyncio.run(ask_often())


def test_other_origins_are_not_let_in_unless_told(gateway: int, triton: Any) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in ask(gateway, "/search", headers=asked, method="OPTIONS")[2]
    config = GatewayConfig(
        url=f"grpc://127.0.0.1:{triton.ports['grpc']}", origins=("https://shop.example",), api_key=KEY
    )
    with running(config) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("OPTIONS", "/search", headers=asked)
        reply = connection.getresponse()
        assert (reply.status, reply.getheader("access-control-allow-origin")) == (200, "https://shop.example")
        connection.close()


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: GatewayConfig(api_key="short"), ValueError, r"^an API key must be 16 characters of ASCII or more"),
        (lambda: GatewayConfig(api_key="two words of a key"), ValueError, r"^an API key must be 16 characters"),
        (lambda: GatewayConfig(origins=("shop.example",)), ValueError, r"^an origin must be such as https://shop"),
        (lambda: GatewayConfig(origins=("https://shop.example/",)), ValueError, r"got 'https://shop\.example/'$"),
        (
            lambda: GatewayConfig(other_url="127.0.0.1:8001"),
            ValueError,
            r"^another server is compared with on the page",
        ),
        (lambda: create_app(GatewayConfig(url="nowhere")), InvalidRequestError, r"^url must be host:port"),
    ],
)
def test_rules_of_the_gateway(make: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()
    assert KEY not in repr(GatewayConfig(api_key=KEY))


def test_a_connection_sends_a_body_without_waiting_for_its_head() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

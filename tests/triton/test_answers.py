"""What every client can rely on: JSON that any parser reads, numbers that are not wrapped, failures counted once."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from programs import found, needs
from prometheus_client.parser import text_string_to_metric_families

from trident.server.server import TritonServer
from trident_client import InvalidRequestError, SearchClient

# Reads lines of standard input as JSON, and prints the last number of each one's scores.
NODE = """
const lines = require("fs").readFileSync(0, "utf8").trim().split("\\n");
for (const line of lines) {
  const outputs = JSON.parse(line).outputs;
  console.log(outputs.find(each => each.name === "score").data.at(-1));
}
"""
JQ = '.outputs[] | select(.name == "score") | .data[-1]'
ASKED: list[dict[str, Any]] = [{}, {"k": 200}, {"min_score": 1.0}, {"k": 200, "min_score": 0.5}, {"k": 1}]


def post(
    server: TritonServer, query: Any, *, model: str = "search", parameters: dict[str, Any] | None = None, **knobs: Any
) -> tuple[int, str]:
    """Return status and text of one search over HTTP, all in JSON."""
    types = {"k": "INT64", "ef": "INT64", "min_score": "FP32", "options": "BYTES"}
    inputs = [{"name": "query", "shape": [1, 1], "datatype": "BYTES", "data": [query]}]
    inputs += [
        {"name": name, "shape": [1, 1], "datatype": types[name], "data": [value]} for name, value in knobs.items()
    ]
    connection = http.client.HTTPConnection(server.urls.http, timeout=20)
    try:
        body = json.dumps({"inputs": inputs, "parameters": parameters or {}})
        connection.request("POST", f"/v2/models/{model}/infer", body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("model", ["search", "embed"])
def test_a_request_whose_id_is_no_text_is_refused_in_a_sentence(tiny_server: TritonServer, model: str) -> None:
    """Triton takes any bytes between quotation marks; others of its batch would be lost with it."""
    named = {"search": {"query": "navy sofa"}, "embed": {"text": "navy sofa", "side": "query"}}[model]
    inputs = [{"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [value]} for name, value in named.items()]
    body = json.dumps({"id": "ID", "inputs": inputs}).encode().replace(b'"ID"', b'"\xff\xfe"')
    connection = http.client.HTTPConnection(tiny_server.urls.http, timeout=20)
    connection.request("POST", f"/v2/models/{model}/infer", body)
    answer = connection.getresponse()
    status, said = answer.status, answer.read().decode(errors="replace")
    connection.close()
    assert (status, "id" in said, "UTF-8" in said) == (400, True, True), said


def no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def answers(tiny_server: TritonServer) -> list[str]:
    """Return answers in JSON: full, with empty places, with nothing found."""
    found = [post(tiny_server, "navy sofa", **knobs) for knobs in ASKED]
    assert [status for status, _ in found] == [200] * len(ASKED)
    return [text for _, text in found]


def last_scores(answers: list[str]) -> list[float]:
    documents = [json.loads(text, parse_constant=no_number) for text in answers]
    return [next(each["data"][-1] for each in document["outputs"] if each["name"] == "score") for document in documents]


def test_python_reads_every_answer_strictly(answers: list[str]) -> None:
    scores = last_scores(answers)
    assert [score == -2.0 for score in scores] == [False, True, True, True, False]
    for text in answers:
        outputs = {each["name"]: each["data"] for each in json.loads(text)["outputs"]}
        assert json.loads(outputs["details"][0]) == {}
        count = outputs["count"][0]
        assert all(-1 <= score <= 1 for score in outputs["score"][:count])
        assert set(outputs["score"][count:]) <= {-2.0}
        assert set(outputs["product_id"][count:]) <= {""}


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        pytest.param("node", ("-e", NODE), marks=needs("node", found("node"), "nodejs")),
        pytest.param("jq", (JQ,), marks=needs("jq", found("jq"), "jq")),
    ],
)
def test_other_parsers_read_every_answer(answers: list[str], program: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [program, *arguments], input="\n".join(answers), capture_output=True, text=True, check=True, timeout=60
    )
    assert [float(line) for line in done.stdout.split()] == pytest.approx(last_scores(answers))


@pytest.mark.parametrize("name", ["k", "ef"])
@pytest.mark.parametrize("value", [2**32 + 3, 2**31, -(2**32) + 3, 2**63 - 1])
def test_numbers_beyond_32_bits_are_refused_as_they_were_sent(tiny_server: TritonServer, name: str, value: int) -> None:
    status, text = post(tiny_server, "navy sofa", **{name: value})
    assert status == 400
    highest = 1000 if name == "k" else 10_000
    assert json.loads(text)["error"].endswith(f"{name} must be 1 to {highest}, got {value}")


@pytest.mark.parametrize("value", [2**63 + 3, 2**64 + 3])
def test_numbers_beyond_64_bits_are_no_numbers(tiny_server: TritonServer, value: int) -> None:
    assert post(tiny_server, "navy sofa", k=value)[0] in (400, 500)


def test_infinity_is_refused(tiny_server: TritonServer) -> None:
    status, text = post(tiny_server, "navy sofa", min_score=1e39)
    assert (status, json.loads(text)["error"].endswith("min_score must be -1 to 1, a cosine, got inf")) == (400, True)


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, tiny_server: TritonServer) -> Iterator[SearchClient]:
    protocol: Literal["grpc", "http"] = request.param
    with SearchClient(getattr(tiny_server.urls, protocol), protocol=protocol) as found:
        yield found


def test_options_that_a_generation_does_not_know_are_refused_by_name(client: SearchClient) -> None:
    assert client.search("navy sofa", options={}).details == {}
    with pytest.raises(
        InvalidRequestError, match=r"^options has no key 'sequence' in this generation, it knows filter, .*: lea"
    ):
        client.search("navy sofa", options={"sequence": 40})
    with pytest.raises(InvalidRequestError, match=r"^options has no key 'a' in this generation"):
        client.search_many(["navy sofa", "lamp"], options={"b": 1, "a": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [("[]", "must be one JSON object such as {}, got []"), ("{", "must be one JSON object such as {}, got '{'")],
)
def test_options_that_are_no_object_are_refused(tiny_server: TritonServer, options: str, message: str) -> None:
    status, text = post(tiny_server, "navy sofa", options=options)
    assert status == 400
    assert message in json.loads(text)["error"]


def failed(server: TritonServer) -> dict[str, float]:
    """Return how many requests failed by cause."""
    connection = http.client.HTTPConnection(server.urls.metrics, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "trident_failed_total":
                reason = sample.labels["reason"]
                counts[reason] = counts.get(reason, 0.0) + sample.value
    return counts


def grown(server: TritonServer, before: dict[str, float], wanted: dict[str, float]) -> dict[str, float]:
    """Return by how much the counts have grown, once they are what is wanted or have had time to be it."""
    deadline = time.monotonic() + 15
    while True:
        now = failed(server)
        found = {reason: now[reason] - before[reason] for reason in now if now[reason] != before[reason]}
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_five_refusals_count_five(tiny_server: TritonServer) -> None:
    time.sleep(1.5)  # what others counted is handed over
    before = failed(tiny_server)
    assert before.keys() == {"invalid", "overloaded", "expired", "internal", "away"}
    for query, knobs in (
        ("", {}),
        ("a", {"k": 0}),
        ("a", {"ef": -1}),
        ("a", {"min_score": 2.0}),
        ("a", {"options": "1"}),
    ):
        assert post(tiny_server, query, **knobs)[0] == 400
    assert post(tiny_server, "a")[0] == 200
    assert grown(tiny_server, before, {"invalid": 5.0}) == {"invalid": 5.0}


def test_a_request_whose_deadline_has_passed_is_not_worked_on(tiny_server: TritonServer) -> None:
    time.sleep(1.5)
    before = failed(tiny_server)
    now_ms = int(time.time() * 1000)
    status, text = post(tiny_server, "navy sofa", parameters={"deadline_unix_ms": now_ms - 250})
    assert status in (400, 499)  # by its version
    assert "DEADLINE_EXCEEDED: the request's deadline_unix_ms had passed 0." in json.loads(text)["error"]
    assert post(tiny_server, "navy sofa", parameters={"deadline_unix_ms": now_ms + 60_000})[0] == 200
    status, text = post(tiny_server, "navy sofa", parameters={"deadline_unix_ms": "soon"})
    assert (status, "deadline_unix_ms must be milliseconds since 1970, got 'soon'" in text) == (400, True)
    wanted = {"expired": 1.0, "invalid": 1.0}
    assert grown(tiny_server, before, wanted) == wanted


def test_a_client_works_in_a_process_that_was_forked(client: SearchClient) -> None:
    """Parent and children ask in turns; nobody gets the answer of another."""
    client.search("navy sofa")
    for number in range(5):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                found = [client.search(f"lamp {number}", k=7) for _ in range(2)]
                status = int([len(each.hits) for each in found] != [7, 7])
            finally:
                os._exit(status)
        assert len(client.search("navy sofa", k=3).hits) == 3
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_this_machine_is_asked_without_a_proxy(tiny_server: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    for host in ("127.0.0.1", "localhost"):
        with SearchClient(f"{host}:{tiny_server.config.grpc_port}") as client:
            assert client.search("navy sofa").hits

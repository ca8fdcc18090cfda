"""What the client makes of answers, over HTTP against a small server that speaks Triton's protocol; and its imports."""

from __future__ import annotations

import http.server
import json
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

import trident_client
from trident_client import (
    Hit,
    InvalidRequestError,
    RequestTimeoutError,
    SearchClient,
    SearchResult,
    UnexpectedAnswerError,
)
from trident_client.answers import Answer, read_results
from trident_client.requests import Wanted, search_requests

IMPORT = """
import sys
before = set(sys.modules)
import trident_client
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@dataclass
class Answers:
    """A Triton server's answers to one client: a row for each text, and the generation of each request in turn."""

    generations: tuple[str, ...] = ("g1",)
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    details: str = "{}"
    bodies: list[bytes] = field(default_factory=list)
    ahead_s: float = 0.0  # of its clock
    slow_s: float = 0.0  # until it looks at that

    def answer(self, request: dict[str, Any]) -> tuple[bytes, bytes]:
        """Return what an ensemble answers, the header and the tensors; in a search, row n finds n products of 3."""
        self.requests.append(request)
        generation = self.generations[(len(self.requests) - 1) % len(self.generations)]
        rows = request["inputs"][0]["shape"][0]
        tensors = {"generation": texts([[generation]] * rows)}
        if request["inputs"][0]["name"] == "text":
            tensors["embedding"] = np.array([[row, 0.5] for row in range(rows)], dtype=np.float32)
        else:
            found = [min(row, 3) for row in range(rows)]
            tensors["product_id"] = texts([[f"p{place}" * (place < n) for place in range(3)] for n in found])
            tensors["title"] = texts([[f"Größe {place}" * (place < n) for place in range(3)] for n in found])
            tensors["score"] = np.array([[1.0, 0.75, 0.5]] * rows, dtype=np.float32)
            tensors["details"] = texts([[self.details]] * rows)
            tensors["count"] = np.array([[n] for n in found], dtype=np.int32)
        outputs, parts = [], []
        for name, values in tensors.items():
            is_text = values.dtype == np.object_
            parts.append(serialize_byte_tensor(values).item() if is_text else values.tobytes())
            outputs.append(
                {
                    "name": name,
                    "datatype": np_to_triton_dtype(values.dtype),
                    "shape": list(values.shape),
                    "parameters": {"binary_data_size": len(parts[-1])},
                }
            )
        header = {"model_name": "search", "model_version": "7", "outputs": outputs}
        return json.dumps(header).encode(), b"".join(parts)


def texts(rows: list[list[str]]) -> np.ndarray:
    return np.array([[text.encode() for text in row] for row in rows], dtype=np.object_)


@pytest.fixture
def server() -> Iterator[Answers]:
    answers = Answers()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            header = int(self.headers.get("Inference-Header-Content-Length", len(body)))
            answers.bodies.append(body)
            request = json.loads(body[:header])
            start, tensors = answers.answer(request)
            deadline_ms = request.get("parameters", {}).get("deadline_unix_ms", math.inf)
            time.sleep(answers.slow_s)
            expired = (time.time() + answers.ahead_s) * 1000 > deadline_ms
            if expired:
                start, tensors = b'{"error": "in ensemble \'search\', DEADLINE_EXCEEDED: it had passed"}', b""
            self.send_response(499 if expired else 200)
            self.send_header("Inference-Header-Content-Length", str(len(start)))
            self.send_header("Content-Length", str(len(start + tensors)))
            self.end_headers()
            self.wfile.write(start + tensors)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    listening = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    answers.url = f"127.0.0.1:{listening.server_port}"
    try:
        yield answers
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.fixture
def client(server: Answers) -> Iterator[SearchClient]:
    with SearchClient(server.url, protocol="http") as opened:
        yield opened


def test_a_result_has_as_many_hits_as_were_found(client: SearchClient) -> None:
    nothing, one, *_, many = client.search_many(["a", "b", "c", "d", "e"], k=3)
    assert nothing == SearchResult("a", "g1", 7, ())
    assert one == SearchResult("b", "g1", 7, (Hit("p0", 1.0, "Größe 0"),))
    assert [hit.product_id for hit in many.hits] == ["p0", "p1", "p2"]
    assert [hit.score for hit in many.hits] == [1.0, 0.75, 0.5]


def test_what_is_not_asked_for_is_not_sent(client: SearchClient, server: Answers) -> None:
    client.search("sofa")
    client.search("sofa", k=5, ef=40, min_score=0.25)
    plain, full = ({each["name"]: each for each in request["inputs"]} for request in server.requests)
    assert plain.keys() == {"query", "k"}
    assert full.keys() == {"query", "k", "ef", "min_score"}
    types = {name: (each["datatype"], each["shape"]) for name, each in full.items()}
    assert types == {
        "query": ("BYTES", [1, 1]),
        "k": ("INT64", [1, 1]),
        "ef": ("INT64", [1, 1]),
        "min_score": ("FP32", [1, 1]),
    }


def test_options_are_one_text_for_equal_ones(client: SearchClient, server: Answers) -> None:
    """The response cache knows answers by the text: keys sorted at every depth, no blanks, letters as they are."""
    server.details = '{"way": "all"}'
    (result,) = client.search_many(["sofa"], options={"b": {"y": 1.5, "x": ["é", True, None]}, "a": 2})
    client.search_many(["sofa"] * 2, options={"a": 2, "b": {"x": ["é", True, None], "y": 1.5}})
    assert result.details == {"way": "all"}
    assert hash(result) == hash(
        SearchResult(*(getattr(result, name) for name in ("query", "generation")), 7, result.hits)
    )
    bodies = server.bodies
    text = '{"a":2,"b":{"x":["é",true,null],"y":1.5}}'.encode()
    sent = [next(each for each in request["inputs"] if each["name"] == "options") for request in server.requests]
    assert [(each["datatype"], each["shape"]) for each in sent] == [("BYTES", [1, 1]), ("BYTES", [2, 1])]
    assert [body.count(len(text).to_bytes(4, "little") + text) for body in bodies] == [1, 2]


def test_what_is_given_by_name_is_an_option(client: SearchClient, server: Answers) -> None:
    """Without a query too, which is then empty; nothing is sent of what was not given."""
    client.search(filter={"price": {"lt": 5}}, offset=3, sort=["-price"], options={"later": 1})
    text = b'{"filter":{"price":{"lt":5}},"later":1,"offset":3,"sort":["-price"]}'
    assert len(text).to_bytes(4, "little") + text in server.bodies[0]
    client.search("sofa", fields=(), like=None)
    assert b'{"fields":[]}' in server.bodies[1]
    with pytest.raises(InvalidRequestError, match=r"^like must be given by name or in options, got both$"):
        client.search(like="p1", options={"like": "p2"})
    for query in ("", " "):
        with pytest.raises(InvalidRequestError, match=r"^query must not be empty, got '"):
            client.search(query)


def test_a_hit_has_its_probability() -> None:
    (request,) = search_requests(["sofa"], Wanted(min_probability=0, rerank=0))
    assert request.inputs["options"].tolist() == [[b'{"min_probability":0,"rerank":0}']]
    for details, expected in (("{}", None), ('{"probability": [0.75]}', 0.75)):
        (result,) = read_results(request, one_hit(details))
        assert [hit.probability for hit in result.hits] == [expected]


@pytest.mark.parametrize("chances", ["[]", "[0.5, 0.5]", '["x"]', "{}", "7"])
def test_probabilities_of_other_products_are_no_answer(chances: str) -> None:
    (request,) = search_requests(["sofa"], Wanted())
    with pytest.raises(UnexpectedAnswerError, match=r"^probability of an answer must be one number a product, got "):
        read_results(request, one_hit(f'{{"probability": {chances}}}'))


def one_hit(details: str) -> Answer:
    values = {"product_id": texts([["p"]]), "title": texts([["t"]]), "details": texts([[details]])}
    numbers = {"score": np.array([[0.5]], dtype=np.float32), "count": np.array([[1]], dtype=np.int32)}
    return Answer({**values, **numbers, "generation": texts([["g"]])}, 1)


def test_how_a_query_is_ranked_is_asked_for_by_name(client: SearchClient, server: Answers) -> None:
    client.search("sofa", mode="hybrid", explain=True, spelling=False)
    client.search_many(["sofa"], mode="lexical")
    for text, body in zip(
        (b'{"explain":true,"mode":"hybrid","spelling":false}', b'{"mode":"lexical"}'), server.bodies, strict=True
    ):
        assert len(text).to_bytes(4, "little") + text in body
    client.search("sofa", spelling=True, explain=False)
    assert b"options" not in server.bodies[2]


def test_what_decided_the_order_stands_in_the_hits(client: SearchClient, server: Answers) -> None:
    server.details = '{"corrected": "sofa", "weak": true}'
    result = client.search("soffa")
    assert (result.corrected, result.weak) == ("sofa", True)
    assert all(hit.explain == {} for hit in result.hits)
    parts = [{"cosine": 0.5, "bm25": None, "fused": 0.1 * place} for place in range(len(result.hits))]
    server.details = json.dumps({"explain": parts})
    result = client.search("sofa", explain=True)
    assert [hit.explain for hit in result.hits] == parts
    assert (result.corrected, result.weak) == (None, False)
    server.details = '{"explain": [{}, 7]}'
    with pytest.raises(UnexpectedAnswerError, match=r"^explain of an answer must be one object a product, got "):
        client.search("sofa", explain=True)


def test_times_are_those_of_this_search_or_none(client: SearchClient, server: Answers) -> None:
    result = client.search("sofa")
    assert result.timings_ms is None
    timed = {"timings_ms": {"encode": 2.5, "rest": 0.1}, "timings_of": result.id.removesuffix("-0")}
    assert replace(result, details=timed).timings_ms == {"encode": 2.5, "rest": 0.1}
    server.details = json.dumps(timed)  # which a cache kept of the first
    again = client.search("sofa", timings=True)
    assert b'{"timings":true}' in server.bodies[1]
    assert again.details == timed
    assert again.timings_ms is None


@pytest.mark.parametrize("attributes", ["[{}]", '["x"]', "{}", "7"])
def test_attributes_of_other_products_are_no_answer(client: SearchClient, server: Answers, attributes: str) -> None:
    server.details = f'{{"attributes": {attributes}}}'
    with pytest.raises(UnexpectedAnswerError, match=r"^attributes of an answer must be one object a product, got "):
        client.search_many(["sofa", "lamp", "rake"], options={"fields": ["brand"]})


def test_no_options_are_not_sent(client: SearchClient, server: Answers) -> None:
    for options in (None, {}):
        assert client.search("sofa", options=options).details == {}
    assert all(each["name"] != "options" for request in server.requests for each in request["inputs"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{}", r"^options must be a mapping of names to values, got '\{\}'$"),
        ([("a", 1)], r"^options must be a mapping of names to values, got \[\('a', 1\)\]$"),
        ({1: "a"}, r"^options must be a mapping of names to values, got \{1: 'a'\}$"),
        (
            {"a": {1, 2}},
            r"^options must be what JSON can hold, got .* \(Object of type set is not JSON serializable\)$",
        ),
        ({"a": float("nan")}, r"^options must be what JSON can hold, got \{'a': nan\} \(Out of range float"),
        ({"a": "\ud800"}, r"^options must be what JSON can hold, got .*surrogates not allowed\)$"),
    ],
)
def test_options_that_cannot_be_sent(client: SearchClient, server: Answers, options: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        client.search("sofa", options=options)
    assert not server.requests


@pytest.mark.parametrize(
    ("details", "message"), [("[]", r"must be one JSON object, got b'\[\]'$"), ("{", "must be JSON, got b'{' ")]
)
def test_details_that_are_no_object(client: SearchClient, server: Answers, details: str, message: str) -> None:
    server.details = details
    with pytest.raises(UnexpectedAnswerError, match=f"^details of an answer {message}"):
        client.search("sofa")


def test_the_deadline_is_sent_along_and_is_no_tensor(server: Answers) -> None:
    with SearchClient(server.url, protocol="http", timeout_s=7.0) as client:
        before = time.time()
        client.search("sofa")
        client.embed(["sofa"])
    for request in server.requests:
        assert before + 6.9 <= request["parameters"]["deadline_unix_ms"] / 1000 <= time.time() + 7.0
        assert all(each["name"] != "deadline_unix_ms" for each in request["inputs"])


@pytest.mark.parametrize("timeout_s", [math.inf, 1e300, 1e9])
def test_who_waits_for_ever_has_no_deadline(server: Answers, timeout_s: float) -> None:
    with SearchClient(server.url, protocol="http", timeout_s=timeout_s) as client:
        assert client.search_many(["a", "b"])[1].hits
    assert "deadline_unix_ms" not in server.requests[0].get("parameters", {})


def test_a_server_whose_clock_is_ahead_is_told_no_deadline(server: Answers, caplog: pytest.LogCaptureFixture) -> None:
    server.ahead_s = 60.0
    with SearchClient(server.url, protocol="http", timeout_s=20.0) as client:
        assert len(client.search_many(["a", "b"])) == 2
        client.search("sofa")
    assert ["deadline_unix_ms" in request.get("parameters", {}) for request in server.requests] == [True, False, False]
    assert re.search(
        rf"the clock of the server at {server.url} is (20\.0|1\d\.\d) s or more ahead of this", caplog.text
    )


def test_a_server_that_gives_up_a_little_early_is_told_deadlines_all_the_same(server: Answers) -> None:
    """Clocks differ, and what is late is given up at the deadline: neither says that a clock cannot be trusted."""
    server.slow_s, server.ahead_s = 1.9, 0.15
    with SearchClient(server.url, protocol="http", timeout_s=2.0) as client:
        with pytest.raises(RequestTimeoutError, match=r"^no answer from .* within 2 s"):
            client.search("sofa")
        server.slow_s = 0.0
        assert client.search("sofa").generation == "g1"
    assert ["deadline_unix_ms" in request.get("parameters", {}) for request in server.requests] == [True, True]


def test_long_lists_are_sent_in_parts_and_come_back_in_order(client: SearchClient, server: Answers) -> None:
    queries = [f"query {number}" for number in range(130)]
    results = client.search_many(queries)
    assert [result.query for result in results] == queries
    assert [request["inputs"][0]["shape"] for request in server.requests] == [[64, 1], [64, 1], [2, 1]]
    embeddings = client.embed(queries)
    assert embeddings.shape == (130, 2)
    assert embeddings.dtype == np.float32
    assert embeddings[[0, 63, 64, 129], 0].tolist() == [0, 63, 0, 1]


def test_embeddings_of_two_generations_are_not_mixed(client: SearchClient, server: Answers) -> None:
    server.generations = ("g1", "g2")
    assert client.embed(["sofa"] * 64).shape == (64, 2)  # one request
    with pytest.raises(UnexpectedAnswerError, match=r"^65 texts must be embedded by one generation, got g1, g2: "):
        client.embed(["sofa"] * 65)
    results = client.search_many(["sofa"] * 65)  # each result says which generation it is of
    assert {result.generation for result in results} == {"g1", "g2"}


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"trident_client", "tritonclient", "numpy"} <= loaded
    ours = {name for name in loaded if name.startswith("trident")}
    assert ours == {"trident_client"}
    assert not loaded & {"torch", "transformers", "tokenizers", "pyarrow", "hnswlib", "onnxruntime", "typer", "rich"}


def test_everything_public_is_there_and_described() -> None:
    for name in trident_client.__all__:
        assert getattr(trident_client, name).__doc__, name

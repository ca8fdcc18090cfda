"""What the client makes of answers, over HTTP against a small server that speaks Triton's protocol; and its imports."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

import trident_client
from trident_client import Hit, SearchClient, SearchResult, UnexpectedAnswerError

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
            start, tensors = answers.answer(json.loads(body[:header]))
            self.send_response(200)
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
        "k": ("INT32", [1, 1]),
        "ef": ("INT32", [1, 1]),
        "min_score": ("FP32", [1, 1]),
    }


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

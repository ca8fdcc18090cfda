"""What answers at an address and is no server of ours is named; a real HTTP server that speaks another language."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from trident.errors import ServerError
from trident.probe.control import ModelControl, reason_in
from trident.probe.served_answers import served_answers


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers every request with the same page, and keeps what it was asked."""

    server: Strangers

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.send_header("Inference-Header-Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_request(self, *_: object) -> None:
        """Say nothing."""


class Strangers(http.server.ThreadingHTTPServer):
    """Listens for strangers."""

    page = b""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Stranger)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.server_port}"


@pytest.fixture
def stranger() -> Iterator[Strangers]:
    with Strangers() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (b"", "JSONDecodeError"),
        (b'{"model_version": "1"}', "KeyError..outputs"),
        (b'{"model_version": "1", "outputs": []}', "KeyError..generation"),
        (
            b'{"model_version": "1", "outputs": [{"name": "generation", "datatype": "BYTES", "shape": [0], '
            b'"parameters": {"binary_data_size": 0}}]}',
            "IndexError",
        ),
    ],
)
def test_another_server_is_named(stranger: Strangers, page: bytes, fault: str) -> None:
    stranger.page = page
    with pytest.raises(ServerError, match=rf"what answers at {stranger.url} is no Triton server of Trident: {fault}"):
        served_answers(stranger.url, ["navy sofa"])


def test_every_query_is_asked_with_a_lowest_score_of_its_own(stranger: Strangers) -> None:
    """A cache that keeps answers row by row would know none of them."""
    for _ in range(2):
        with pytest.raises(ServerError):
            served_answers(stranger.url, ["navy sofa"] * 50)
    rows = [
        score
        for asked in stranger.asked
        for tensor in asked["inputs"]
        if tensor["name"] == "min_score"
        for score in tensor["data"]
    ]
    assert len(rows) == 100
    assert all(-1 <= score < -0.98 for score in rows)
    assert len(set(rows)) > 90


def test_nobody_is_named() -> None:
    with pytest.raises(ServerError, match=r"tritonserver at 127\.0\.0\.1:1 does not answer: .*refused"):
        ModelControl(url="127.0.0.1:1").index()


def test_a_reason_is_one_line() -> None:
    assert reason_in(b'{"error": "load failed: no index\\n\\nAt:\\n  model.py(24): initialize\\n"}') == (
        "load failed: no index"
    )
    assert reason_in(b"<html>\n503</html>") == "<html> 503</html>"
    assert reason_in(b'{"message": 1}') == '{"message": 1}'

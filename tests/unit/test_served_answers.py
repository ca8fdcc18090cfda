"""What answers at an address and is no server of ours is named; a real HTTP server that speaks another language."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from trident.control import ModelControl, reason_in
from trident.errors import ServerError
from trident.served_answers import served_answers


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers every request with an empty page."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_another_server_is_named(stranger: str) -> None:
    with pytest.raises(ServerError, match=rf"what answers at {stranger} is no Triton server of Trident: "):
        served_answers(stranger, ["navy sofa"])


def test_nobody_is_named() -> None:
    with pytest.raises(ServerError, match=r"tritonserver at 127\.0\.0\.1:1 does not answer: .*refused"):
        ModelControl(url="127.0.0.1:1").index()


def test_a_reason_is_one_line() -> None:
    assert reason_in(b'{"error": "load failed: no index\\n\\nAt:\\n  model.py(24): initialize\\n"}') == (
        "load failed: no index"
    )
    assert reason_in(b"<html>\n503</html>") == "<html> 503</html>"
    assert reason_in(b'{"message": 1}') == '{"message": 1}'

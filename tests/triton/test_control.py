"""Who may load and unload models: who has the key, and is the server's user."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from trident.errors import ServerError
from trident.generation.state import ServingFolder
from trident.probe.control import ModelControl
from trident.processes.model_processes import load_again
from trident.promotion.promotion import PromoteOptions, check_user, promote, retire, rollback
from trident.server.server import TritonServer
from trident_client import SearchClient

QUIET = PromoteOptions()


def silent(line: str) -> None:
    """Report nothing."""


def test_without_the_key_models_are_not_controlled(server: TritonServer, own: Any, port: int) -> None:
    for key in (None, "", "0" * 64):
        control = ModelControl(url=server.urls.http, key=key)
        calls: list[Callable[[], Any]] = [
            control.index,
            lambda control=control: control.load("search"),
            lambda control=control: control.unload("search"),
        ]
        for call in calls:
            with pytest.raises(ServerError, match=r"refused /v2/repository/.* \(403\): This API is restricted"):
                call()
        by_grpc = ModelControl(url=server.urls.http, key=key, grpc=server.urls.grpc)
        with pytest.raises(
            ServerError, match=r"refused to load model 'search' \([A-Z_]+\): This protocol is restricted"
        ):
            by_grpc.load("search")
    clients: list[tuple[Any, str]] = [
        (triton_grpc.InferenceServerClient(server.urls.grpc), "grpc"),
        (triton_http.InferenceServerClient(server.urls.http), "http"),
    ]
    for client, _ in clients:
        for call in (
            client.get_model_repository_index,
            lambda client=client: client.load_model("pipeline"),
            lambda client=client: client.unload_model("search"),
            client.get_system_shared_memory_status,
            client.get_trace_settings,
            client.get_log_settings,
        ):
            with pytest.raises(InferenceServerException, match=r"This (protocol|API) is restricted"):
                call()
        client.close()
    key_path = ServingFolder.of(own.folder, port).key_path
    assert key_path.stat().st_mode & 0o777 == 0o600
    key = key_path.read_text()
    assert len(key) == 64
    allowed = ModelControl(url=server.urls.http, key=key, grpc=server.urls.grpc)
    with pytest.raises(ServerError, match=r"refused to load model 'absent' \([A-Z_]+\): failed to load 'absent'"):
        allowed.load("absent")
    with pytest.raises(ServerError, match=r"tritonserver at 127\.0\.0\.1:1 does not answer: "):
        ModelControl(url=server.urls.http, key=key, grpc="127.0.0.1:1").load("search")
    with triton_grpc.InferenceServerClient(server.urls.grpc) as client:
        index = client.get_model_repository_index(headers={"triton-grpc-protocol-trident-key": key})
        assert {model.name for model in index.models} >= {"search", "pipeline"}
    with SearchClient(server.urls.grpc) as searcher:
        assert searcher.search("navy sofa").generation == own.a.id


class Asking(threading.Thread):
    """Asks over one HTTP connection, until told to end, and counts the answers."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.answers, self.ending = 0, threading.Event()
        self.connection = http.client.HTTPConnection(url, timeout=120)
        self.start()

    def run(self) -> None:
        while not self.ending.is_set():
            self.connection.request("GET", "/v2/health/live")
            assert self.connection.getresponse().read() == b""
            self.answers += 1
            time.sleep(0.005)
        self.connection.close()


def test_while_a_model_is_loaded_http_is_answered(server: TritonServer, own: Any, port: int) -> None:
    folder = ServingFolder.of(own.folder, port)
    control = ModelControl(url=server.urls.http, key=folder.key(), grpc=server.urls.grpc)
    asking = [Asking(server.urls.http) for _ in range(24)]
    try:
        while not all(each.answers for each in asking):
            time.sleep(0.01)
        before = [each.answers for each in asking]
        assert load_again(folder, control, ("pipeline", own.a.serial))
        during = [each.answers - count for each, count in zip(asking, before, strict=True)]
    finally:
        for each in asking:
            each.ending.set()
            each.join()
    assert min(during) >= 5, during  # a load over HTTP lets most of them have one


def test_a_key_that_cannot_be_read_is_named(server: TritonServer, own: Any, port: int) -> None:
    path = ServingFolder.of(own.folder, port).key_path
    aside = path.rename(path.with_name("aside"))
    try:
        with pytest.raises(ServerError, match=r"the key .*/key cannot be read \(No such file"):
            promote(own.folder, port, own.b.id, QUIET, report=silent)
        program = "import sys; from pathlib import Path; from trident.probe.running import find_running\n"
        program += "print(len(find_running(Path(sys.argv[1]), int(sys.argv[2])).control.index()))"
        command = [sys.executable, "-c", program, str(own.folder), str(port)]
        environment = os.environ | {"TRIDENT_KEY": aside.read_text()}
        assert int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) >= 3
    finally:
        aside.rename(path)


def test_only_the_user_of_the_server_operates_it(server: TritonServer, own: Any, port: int, tmp_path: Path) -> None:
    message = r" must be operated by the user of trident serve, \d+, got user \d+: run this as that user"
    if os.geteuid() != 0:  # who cannot give a folder away asks about one of root's
        with pytest.raises(ServerError, match=message):
            check_user(Path("/"))
        return
    path = ServingFolder.of(own.folder, port).path
    os.chown(path, 12345, -1)
    try:
        for operate in (
            lambda: promote(own.folder, port, own.b.id, QUIET, report=silent),
            lambda: rollback(own.folder, port, report=silent),
            lambda: retire(own.folder, port, grace_s=0),
        ):
            with pytest.raises(ServerError, match=message):
                operate()
    finally:
        os.chown(path, 0, -1)

"""Life of a tritonserver, with tiny Python models: it starts, answers, says why it does not start, leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton_http

from trident.errors import ConfigError, ServerError
from trident.server.server import ModelStatistics, ServerConfig, TritonServer, free_ports
from trident.server.tritonserver import error_lines

Living = Callable[[int], list[int]]
CONFIG = """
backend: "python"
max_batch_size: 8
input [{ name: "text" data_type: TYPE_STRING dims: [1] }]
output [{ name: "same" data_type: TYPE_STRING dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
IDENTITY = """
import os

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        prefix = os.environ.get("TRIDENT_TEST_PREFIX", "").encode()
        found = [pb_utils.get_input_tensor_by_name(request, "text").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("same", prefix + texts)]) for texts in found]
"""
SILENT = "import os\n\nos._exit(3)\n"
PRINTING = "import os, traceback\n\ntry:\n    {}['shelf']\nexcept KeyError:\n    traceback.print_exc()\nos._exit(3)\n"
SLEEPING = "import time\n\ntime.sleep(60)\n"


def write_model(repository: Path, name: str, code: str, config: str = CONFIG) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(code)


def configure(repository: Path, *models: str, **changes: Any) -> ServerConfig:
    http_port, grpc_port, metrics_port = free_ports(3)
    ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
    return ServerConfig(model_repository=repository, load_models=models, **{**ports, "exit_timeout_s": 1, **changes})


def refusal(config: ServerConfig) -> str:
    """Return what a server says that does not start, and check that it left nothing behind."""
    server = TritonServer(config)
    before = regions(config)  # of another server on the same HTTP port
    with pytest.raises(ServerError) as caught:
        server.start()
    assert not server.is_running
    assert regions(config) == before
    return str(caught.value)


def ask(server: TritonServer, model: str, *texts: bytes) -> list[bytes]:
    """Return the answer to one request, a row a text."""
    tensor = triton_http.InferInput("text", [len(texts), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text] for text in texts], dtype=np.object_))
    with triton_http.InferenceServerClient(server.urls.http) as connection:
        answer = connection.infer(model, [tensor]).as_numpy("same")
    assert answer is not None
    return [bytes(row[0]) for row in answer]


def regions(config: ServerConfig) -> list[Path]:
    return list(Path("/dev/shm").glob(f"trident_*_{config.http_port}_*"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model repository: the identity, alone and behind the response cache."""
    folder = tmp_path_factory.mktemp("repository")
    write_model(folder, "identity", IDENTITY)
    write_model(folder, "cached", IDENTITY, CONFIG + "response_cache { enable: true }")
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(configure(repository, "identity", "cached", cache_size_bytes=2**20)) as started:
        yield started


def test_it_is_ready_and_says_where(server: TritonServer) -> None:
    assert server.is_running
    assert server.urls.http == f"127.0.0.1:{server.config.http_port}"
    for url in (server.urls.http, server.urls.grpc, server.urls.metrics):
        host, _, port = url.partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    with triton_http.InferenceServerClient(server.urls.http) as connection:
        assert connection.is_model_ready("identity")
    assert "Started HTTPService" in server.log_tail()


def test_it_listens_on_its_host_alone(server: TritonServer) -> None:
    lines = [line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    listening = [line.split()[1].split(":") for line in lines if " 0A " in line]
    addresses = {
        int(port, 16): address for address, port in listening if int(port, 16) in server.config.ports().values()
    }
    assert sorted(addresses) == sorted(server.config.ports().values())
    assert {address[-8:] for address in addresses.values()} == {"0100007F"}  # gRPC: as an IPv6 address


def test_texts_come_back_as_they_went(server: TritonServer) -> None:
    texts = [b"", "Kaffeemühle 電子書籍".encode(), b"\x00\xff", b"x" * 100_000]
    assert ask(server, "identity", *texts) == texts


def settled(server: TritonServer, model: str, *, executions: int = 0) -> ModelStatistics:
    """Return a model's statistics once so many executions are counted, after their answers, and no more come."""
    deadline = time.monotonic() + 10
    last = server.statistics(model)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = server.statistics(model)
        if now == last and now.executions >= executions:
            break
        last = now
    return last


def test_statistics_count_rows_and_batches(server: TritonServer) -> None:
    before = settled(server, "identity")
    ask(server, "identity", b"a", b"b", b"c", b"d")
    ask(server, "identity", b"e", b"f")
    after = settled(server, "identity", executions=before.executions + 2)
    assert after.inferences - before.inferences == 6
    assert after.executions - before.executions == 2
    assert ModelStatistics(inferences=6, executions=2).mean_batch == 3.0
    assert ModelStatistics(inferences=0, executions=0).mean_batch == 0.0
    with pytest.raises(ServerError, match=r"answered 400 to /v2/models/nobody/stats: .*'nobody'"):
        server.statistics("nobody")


def test_the_response_cache_answers_again(server: TritonServer) -> None:
    assert ask(server, "cached", b"kettle") == ask(server, "cached", b"kettle") == [b"kettle"]
    assert settled(server, "cached", executions=1).executions == 1


def test_a_started_server_is_not_started_again(server: TritonServer) -> None:
    with pytest.raises(ServerError, match="was started already: stop it first"):
        server.start()
    assert ask(server, "identity", b"still there") == [b"still there"]


@pytest.mark.parametrize("option", ["http-port", "grpc-port", "metrics-port"])
def test_a_port_in_use_is_named(server: TritonServer, repository: Path, option: str) -> None:
    taken = server.config.ports()[option]
    message = refusal(configure(repository, "identity", **{option.replace("-", "_"): taken}))
    assert message == (
        f"port {taken} on 127.0.0.1 cannot be used (Address already in use): stop the server that has it, or choose "
        f"another with --{option}"
    )


def test_an_address_of_another_machine_is_refused(repository: Path) -> None:
    message = refusal(configure(repository, "identity", host="192.0.2.1"))
    assert message.startswith("--host must be an address of this machine, got 192.0.2.1 (")


@pytest.mark.parametrize("host", ["", "localhost", "::1"])
def test_a_host_is_an_address(repository: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=f"--host must be an IPv4 address such as 127.0.0.1, got '{host}'"):
        configure(repository, host=host)


def test_two_servers_side_by_side(server: TritonServer, repository: Path) -> None:
    variables = {"TRIDENT_TEST_PREFIX": "second "}
    with TritonServer(configure(repository, "identity", environment=variables)) as second:
        assert ask(second, "identity", b"kettle") == [b"second kettle"]
        assert ask(server, "identity", b"kettle") == [b"kettle"]
        with pytest.raises(ServerError, match="answered 400"):
            second.statistics("cached")  # models are loaded when named, not because they are there
    assert ask(server, "identity", b"kettle") == [b"kettle"]
    assert regions(server.config)


def test_stopping_leaves_no_process_and_no_shared_memory(repository: Path, living: Living) -> None:
    config = configure(repository, "identity")
    with TritonServer(config) as server:
        leader = server.pid
        assert len(living(leader)) == 2  # the server and the model's Python
        assert regions(config)
    assert not living(leader)
    assert not regions(config)
    assert server.log_tail() == ""
    server.stop()  # once more is harmless
    with pytest.raises(ServerError, match="does not answer"):
        server.statistics("identity")
    with pytest.raises(ServerError, match="was not started"):
        _ = server.pid
    server.start()  # and it can be used again
    server.stop()


def test_a_killed_server_leaves_nothing_when_stopped(repository: Path, living: Living) -> None:
    config = configure(repository, "identity")
    server = TritonServer(config)
    server.start()
    leader = server.pid
    os.kill(leader, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    assert not server.is_running
    assert "Started HTTPService" in server.log_tail()  # to be shown until it is stopped
    server.stop()
    assert not living(leader)
    assert not regions(config)


def test_a_killed_parent_takes_the_server_with_it(repository: Path, living: Living) -> None:
    config = configure(repository, "identity")
    program = (
        "import sys, time; from pathlib import Path; from trident.server.server import ServerConfig, TritonServer\n"
        "ports = dict(zip(('http_port', 'grpc_port', 'metrics_port'), map(int, sys.argv[2:])))\n"
        "config = ServerConfig(model_repository=Path(sys.argv[1]), load_models=('identity',), **ports)\n"
        "with TritonServer(config) as server:\n    print(server.pid, flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(repository), *map(str, config.ports().values())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        leader = int(parent.stdout.readline())
        assert living(leader)
        parent.kill()
    deadline = time.monotonic() + 15
    while living(leader):
        assert time.monotonic() < deadline, f"processes {living(leader)} still run"
        time.sleep(0.05)
    assert not regions(config)


def test_the_models_own_error_is_shown_once(tmp_path: Path) -> None:
    code = "class TritonPythonModel:\n    def initialize(self, args):\n        raise ValueError('no index\\nhere')\n"
    write_model(tmp_path, "broken", code)
    model_path = tmp_path / "broken" / "1" / "model.py"
    assert refusal(configure(tmp_path, "broken")) == (
        "tritonserver ended with status 1 while starting:\n"
        f"  failed to load 'broken' version 1: Internal: ValueError: no index here (at {model_path}(3): initialize)"
    )


def test_a_printed_traceback_of_a_dead_model_is_shown(tmp_path: Path) -> None:
    write_model(tmp_path, "printing", PRINTING)
    lines = refusal(configure(tmp_path, "printing")).splitlines()[1:]
    assert lines[0] == "  KeyError: 'shelf'"
    assert "Stub process 'printing_0_0' is not healthy" in lines[1]
    assert len(lines) == 2


def test_every_model_that_fails_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, "importing", "import nothing_of_that_name\n")
    write_model(tmp_path, "silent", SILENT)
    write_model(tmp_path, "misspelt", IDENTITY, CONFIG.replace("max_batch_size", "max_bach_size"))
    message = refusal(configure(tmp_path, "importing", "silent", "misspelt"))
    assert "'importing' version 1: Internal: ModuleNotFoundError: No module named 'nothing_of_that_name'" in message
    assert "'silent' version 1: Internal: Stub process 'silent_0_0' is not healthy" in message
    assert 'has no field named "max_bach_size"' in message
    assert f"failed to read text proto from {tmp_path}/misspelt/config.pbtxt" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"options": ("--no-such-option=1",)}, "unrecognized option '--no-such-option=1'"),
        ({"options": ("--log-verbose=much",)}, "Invalid option value. Got much"),
        ({"load_models": ("absent",)}, "failed to poll model 'absent': model not found in any model repository."),
        (
            {"cache_size_bytes": 2**20, "options": ("--cache-directory=/nowhere",)},
            "unable to find 'libtritoncache_local.so' for cache. Searched: /nowhere",
        ),
    ],
)
def test_a_server_that_dies_at_once_says_why(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    models = changes.pop("load_models", ())
    message = refusal(configure(tmp_path, *models, **changes))
    assert message.startswith("tritonserver ended with status 1 while starting:\n")
    assert expected in message
    assert len(message.splitlines()) <= 3


def test_a_server_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    write_model(tmp_path, "sleeping", SLEEPING)
    message = refusal(configure(tmp_path, "sleeping", start_timeout_s=3.0))
    assert message.startswith(
        "tritonserver was not ready, and came no further for 3 s (--start-timeout gives it more):\n"
    )
    assert "TRITONBACKEND_ModelInstanceInitialize: sleeping_0" in message


def test_a_log_without_errors_gives_its_last_lines() -> None:
    assert error_lines("") == []
    log = "\n".join(["| table |", "+-------+", *(f"I1123 15:20:30.8 7 a.cc:{line}] loading" for line in range(9)), ""])
    assert error_lines(log) == [f"I1123 15:20:30.8 7 a.cc:{line}] loading" for line in range(4, 9)]
    assert error_lines('E1123 15:20:30.8 7 a.cc:1] "no \\q JSON"\n') == ["no \\q JSON"]

"""Finding a tritonserver: explicit, by variable, on the path, in the wheel; each refusal names its remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import trident
from trident.errors import ServerError
from trident.server.server import ServerConfig, TritonServer, free_ports
from trident.server.tritonserver import VARIABLE, find_tritonserver


def find_elsewhere(**variables: str) -> subprocess.CompletedProcess[str]:
    """Look for a tritonserver from a Python that sees only our core and what ``PYTHONPATH`` adds."""
    core = str(Path(trident.__file__).parents[1])
    path = os.pathsep.join(filter(None, [core, variables.pop("PYTHONPATH", "")]))
    program = (
        "from trident.server.tritonserver import TridentError, find_tritonserver\n"
        "try:\n    print(find_tritonserver())\nexcept TridentError as error:\n    print(type(error).__name__, error)\n"
    )
    environment = {"PATH": "", "HOME": "/nowhere", "PYTHONPATH": path, **variables}
    command = [sys.executable, "-S", "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)


def start_refusal(repository: Path, program: Path) -> str:
    http_port, grpc_port, metrics_port = free_ports(3)
    config = ServerConfig(
        model_repository=repository,
        load_models=("none",),
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        tritonserver=program,
    )
    with pytest.raises(ServerError) as caught:
        TritonServer(config).start()
    return str(caught.value)


def make_program(folder: Path, mode: int = 0o755) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "backends").mkdir()
    program = folder / "bin" / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    return program


def test_the_remedy_is_named_when_there_is_no_server() -> None:
    assert find_elsewhere().stdout.startswith(
        "ServerError no tritonserver on the path and no nvidia-pytriton wheel: install one with pip install "
        "'trident-search[triton]'"
    )


def test_the_variable_goes_before_the_path(tmp_path: Path) -> None:
    named, on_path = make_program(tmp_path / "named"), make_program(tmp_path / "on_path")
    path = str(on_path.parent)
    assert f"executable=PosixPath('{on_path}')" in find_elsewhere(PATH=path).stdout
    assert f"executable=PosixPath('{named}')" in find_elsewhere(**{"PATH": path, VARIABLE: str(named)}).stdout
    missing = find_elsewhere(**{"PATH": path, VARIABLE: str(tmp_path / "none")})
    assert missing.stdout.startswith(f"ServerError tritonserver {tmp_path}/none (from {VARIABLE}) does not exist: ")


def test_a_program_that_may_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"tritonserver .* is not executable: run chmod \+x on it"):
        find_tritonserver(make_program(tmp_path, mode=0o644))


def test_a_program_that_cannot_run_is_refused(tmp_path: Path) -> None:
    program = make_program(tmp_path)
    program.write_bytes(b"\x7fELF, but not really")
    assert "OSError: [Errno 8] Exec format error" in start_refusal(tmp_path, program)


def test_a_wheel_for_other_pythons_is_refused(tmp_path: Path) -> None:
    make_program(tmp_path / "pytriton" / "tritonserver", mode=0o644)
    (tmp_path / "pytriton" / "__init__.py").write_text("")
    stub = tmp_path / "pytriton" / "tritonserver" / "python_backend_stubs" / "3.8" / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.write_text("")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert find_elsewhere(PYTHONPATH=str(tmp_path)).stdout.startswith(
        f"ServerError the nvidia-pytriton wheel has no Python backend for Python {version}, only for 3.8: use another"
    )


def test_processes_may_lay_out_the_wheels_backend_at_once(tmp_path: Path) -> None:
    program = "from trident.server.tritonserver import find_tritonserver; print(find_tritonserver().backends)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    starting = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=60) for process in starting]
    assert [errors for _, errors in answers] == [""] * 4
    assert len({output for output, _ in answers}) == 1
    (backends,) = (tmp_path / "trident").iterdir()  # one folder, and no staging folder beside it
    assert answers[0][0].strip() == str(backends)
    assert {path.name for path in (backends / "python").iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_stub",
        "triton_python_backend_utils.py",
    }


def test_a_cache_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    program = "from trident.server.tritonserver import find_tritonserver; find_tritonserver()"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert f"ServerError: the Python backend cannot be laid out in {tmp_path}/file/trident: " in answer.stderr
    assert "set XDG_CACHE_HOME to a folder that can be written" in answer.stderr

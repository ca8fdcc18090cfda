"""What the server refuses to load, and what ``trident serve`` says about it."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError, GenerationError, ServerError
from trident.generation.generation import Generation, find_generation, list_generations, write_manifest
from trident.server.server import ServerConfig, TritonServer, free_ports
from trident.server.serving import ServeOptions, prepare, serve
from trident.server.tritonserver import find_tritonserver


@pytest.fixture
def copy(tiny_generations: Path, tmp_path: Path) -> Generation:
    """Return a copy of the tiny generation, free to be damaged."""
    found = find_generation(tiny_generations)
    return Generation.load(Path(shutil.copytree(found.folder, tmp_path / "generations" / found.id)))


def options() -> ServeOptions:
    http_port, grpc_port, metrics_port = free_ports(3)
    return ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)


def refusal(generation: Generation) -> str:
    with pytest.raises(ServerError) as caught, serve(generation, generation.folder.parent, options()):
        pass
    assert not list((generation.folder.parent / ".serving").glob("*"))
    return str(caught.value)


def identity_path(generation: Generation, model: str) -> Path:
    return generation.version_folder(model) / "generation.json"


@pytest.mark.parametrize("model", ["retriever", "encoder"])
def test_another_encoder_than_the_generations_is_refused_at_load(copy: Generation, model: str) -> None:
    path = identity_path(copy, model)
    path.write_text(json.dumps({**json.loads(path.read_text()), "encoder_fingerprint": "f" * 64}))
    message = refusal(copy)
    assert "ffffffffffff" in message
    assert copy.manifest.encoder_fingerprint[:12] in message
    whole = f"must be of generation {copy.id} (serial {copy.serial}, encoder {copy.manifest.encoder_fingerprint[:12]})"
    assert f"/{model}/{copy.serial} {whole}, got {copy.id} (serial {copy.serial}, encoder ffffffffffff)" in message


def test_a_missing_graph_is_named(copy: Generation) -> None:
    copy.cpu_graph().unlink()
    message = refusal(copy)
    assert "tritonserver ended with status 1 while starting" in message
    assert "model.unpadded.onnx does not exist: export the model first" in message


def test_a_changed_file_is_found_before_the_server_starts(copy: Generation) -> None:
    path = identity_path(copy, "tokenizer").parent / "text.json"
    path.write_text(path.read_text().replace('"query_max_tokens": 16', '"query_max_tokens": 17'))
    with pytest.raises(Exception, match=r"tokenizer/1/text\.json was changed after the export"):
        prepare(copy.folder.parent)


def rewrite(generation: Generation, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, as somebody would who hides what was changed: it records the files as they are now."""
    path = generation.folder / "manifest.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    manifest = Generation.load(generation.folder).manifest
    path.unlink()
    write_manifest(generation.folder, manifest)


def test_a_newest_generation_of_another_id_than_its_parts_is_refused(copy: Generation) -> None:
    rewrite(copy, lambda table: table["parts"].update(golden="0" * 64))
    with pytest.raises(GenerationError, match=f"generation {copy.id}: its manifest must be of the same id, got"):
        prepare(copy.folder.parent)


@pytest.mark.parametrize(
    ("model", "name", "value"), [("embed", "encoder_fingerprint", "f" * 64), ("encoder", "graph", "model.fp16.onnx")]
)
def test_a_model_that_is_not_the_manifests_is_refused(copy: Generation, model: str, name: str, value: str) -> None:
    path = identity_path(copy, model)
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    rewrite(copy, lambda table: None)
    with pytest.raises(GenerationError, match=rf"{name} of its {model} must be .* as in the manifest, got {value}"):
        prepare(copy.folder.parent)


def test_wrong_answers_are_found_at_the_start(copy: Generation) -> None:
    golden = copy.folder / "golden.json"
    rows = json.loads(golden.read_text())
    rows[0]["product_ids"].reverse()
    golden.write_text(json.dumps(rows))
    message = refusal(copy)
    assert f"generation {copy.id} must answer its {len(rows)} golden queries as stored, got at the start: " in message
    assert f"'{rows[0]['query']}': place 1 must be product {rows[0]['product_ids'][0]}, got " in message


def test_a_copy_under_another_name_is_no_generation(copy: Generation) -> None:
    folder = copy.folder.parent
    for name in (f"{copy.id}-before", "0123456789abcdef"):
        shutil.copytree(copy.folder, folder / name)
    (folder / f"{copy.id}-before" / "manifest.json").write_text("damaged")
    assert [found.folder for found in list_generations(folder)] == [copy.folder]
    assert prepare(folder).folder == copy.folder


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--health-port", "70000", "--health-port must be 1 to 65535, got 70000"),
        ("--health-period", "0", "the period of health checks must be > 0 seconds, got 0"),
    ],
)
def test_health_is_checked_before_anything_starts(
    run_trident: Callable[..., Any], tmp_path: Path, option: str, value: str, message: str
) -> None:
    refused = run_trident("serve", "--generations", tmp_path, "--health-port", "8003", option, value)
    assert (refused.returncode, refused.stderr) == (2, f"trident: {message}\n")


def test_a_port_in_use_names_the_option(copy: Generation) -> None:
    found = options()
    with (
        socket.create_server(("127.0.0.1", found.grpc_port)),
        pytest.raises(ServerError, match=rf"port {found.grpc_port} on 127\.0\.0\.1 cannot be used .* --grpc-port"),
        serve(copy, copy.folder.parent, found),
    ):
        pass
    assert not (copy.folder.parent / ".serving" / str(found.http_port)).exists()


def test_a_server_that_dies_shows_its_own_error_lines(tmp_path: Path) -> None:
    model = tmp_path / "broken"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(
        'backend: "python" input [{ name: "x" data_type: TYPE_INT32 dims: [1] }] '
        'output [{ name: "y" data_type: TYPE_INT32 dims: [1] }]'
    )
    (model / "1" / "model.py").write_text(
        "class TritonPythonModel:\n    def initialize(self, args):\n        raise ValueError('no index here')\n"
    )
    http_port, grpc_port, metrics_port = free_ports(3)
    config = ServerConfig(
        model_repository=tmp_path,
        load_models=("broken",),
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    server = TritonServer(config)
    with pytest.raises(ServerError, match="no index here"):
        server.start()
    assert not server.is_running


def test_a_stopped_server_leaves_nothing_behind(copy: Generation) -> None:
    found = options()
    with serve(copy, copy.folder.parent, found) as server:
        pid = server.pid
        regions = list(Path("/dev/shm").glob(f"trident_*_{found.http_port}_*"))
        assert regions
        assert server.log_tail()
    assert not server.is_running
    assert not Path(f"/proc/{pid}").exists()
    assert not any(path.exists() for path in regions)
    served = copy.folder.parent / ".serving" / str(found.http_port)
    assert [path.name for path in served.iterdir()] == ["state.json"]  # which generation to serve the next time
    copy.verify_files()  # serving writes nothing into a generation
    with pytest.raises(ServerError, match="was not started"):
        server.wait()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"tritonserver .* does not exist: install one with pip install"):
        find_tritonserver(tmp_path / "bin" / "tritonserver")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tritonserver").write_text("")
    with pytest.raises(ServerError, match=r"has no folder .*backends beside it"):
        find_tritonserver(tmp_path / "bin" / "tritonserver")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"http_port": 0}, "--http-port must be 1 to 65535, got 0"),
        ({"grpc_port": 8000}, "the three ports must differ, got --http-port 8000, --grpc-port 8000"),
        ({"start_timeout_s": 0.0}, "--start-timeout must be > 0 seconds, got 0"),
        ({"start_timeout_s": float("nan")}, "--start-timeout must be > 0 seconds, got nan"),
        ({"exit_timeout_s": 0}, "exit_timeout_s must be > 0, got 0"),
        ({"cache_size_bytes": 0}, "cache_size_bytes must be >= 1, got 0"),
    ],
)
def test_rules_of_the_server(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(model_repository=tmp_path, load_models=(), **change)  # type: ignore[arg-type]


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="--variant must be one of cpu, stages, onnxruntime, tensorrt, torch, got 'gpu'"
    ):
        ServeOptions(variant="gpu")


def test_a_missing_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"model repository .* does not exist"):
        TritonServer(ServerConfig(model_repository=tmp_path / "none", load_models=("search",))).start()

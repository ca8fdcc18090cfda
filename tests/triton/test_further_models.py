"""A generation brings a model that older ones lack: promoted, rolled back and served from the start."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import pytest

from trident.generation.generation import Generation, Identity, generation_id, write_manifest
from trident.probe.golden_check import check_serving
from trident.probe.running import find_running
from trident.promotion.promotion import PromoteOptions, promote, retire, rollback
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve

CONFIG = """name: "advise"
backend: "python"
max_batch_size: 0
version_policy { all {} }
input [ { name: "prefix" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
ADAPTER = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        values = [pb_utils.get_input_tensor_by_name(request, "prefix").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("text", value + b"ttle")]) for value in values]
"""


def with_advice(generation: Generation) -> Generation:
    """Return a copy of a generation that has the model ``advise`` too, beside it."""
    parts = generation.manifest.parts | {"advise": "1" * 64}
    copy = shutil.copytree(generation.folder, generation.folder.with_name(generation_id(parts)))
    (copy / "manifest.json").unlink()
    version = copy / "model_repository" / "advise" / str(generation.serial)
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(ADAPTER)
    shutil.copyfile(
        copy / "model_repository" / "search" / version.name / "generation.json", version / "generation.json"
    )
    for path in copy.rglob("generation.json"):
        replace(Identity.load(path.parent), id=copy.name).save(path.parent)
    write_manifest(copy, replace(generation.manifest, id=copy.name, parts=parts, files={}))
    return Generation.load(copy)


def advice(server: TritonServer) -> str | None:
    """Return what the model answers; None where there is none."""
    body = {"inputs": [{"name": "prefix", "shape": [1], "datatype": "BYTES", "data": ["ke"]}]}
    request = urllib.request.Request(f"http://{server.urls.http}/v2/models/advise/infer", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            text: str = json.load(answer)["outputs"][0]["data"][0]
            return text
    except urllib.error.HTTPError:
        return None


@pytest.mark.parametrize("cache", [None, 2**20])
def test_a_generation_brings_a_model_and_takes_it_away(pair: Any, tmp_path: Any, cache: int | None) -> None:
    own = pair.copy(tmp_path)
    newer = with_advice(own.b)
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, cache_size_bytes=cache)
    with serve(own.a, own.folder, options) as server:
        assert advice(server) is None
        promote(own.folder, http_port, newer.id, PromoteOptions(), report=lambda _: None)
        assert advice(server) == "kettle"
        assert retire(own.folder, http_port, grace_s=0) == [own.a.serial]
        assert check_serving(own.folder, server.urls.http).passed
        rollback(own.folder, http_port, report=lambda _: None)
        assert advice(server) == "kettle"  # until it is retired: a second rollback needs to load nothing
        assert retire(own.folder, http_port, grace_s=0) == [newer.serial]
        assert advice(server) is None
        running = find_running(own.folder, http_port)
        assert not (running.folder.models / "advise").exists()
        promote(own.folder, http_port, newer.id, PromoteOptions(), report=lambda _: None)
        assert advice(server) == "kettle"
        assert check_serving(own.folder, server.urls.http).generation == newer.id
        loaded = {row.model for row in running.control.index() if row.state == "READY"}
        cached = set() if cache is None else {f"cached_{newer.serial}", f"cached_{own.a.serial}"}
        assert loaded == {"search", "embed", "pipeline", "advise"} | cached
        retire(own.folder, http_port, grace_s=0)
        loaded = {row.model for row in running.control.index() if row.state == "READY"}
        assert loaded == {"search", "embed", "pipeline", "advise"} | (cached - {f"cached_{own.a.serial}"})


def test_a_server_starts_with_what_its_generation_brings(pair: Any, tmp_path: Any) -> None:
    own = pair.copy(tmp_path)
    newer = with_advice(own.b)
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, variant="stages")
    with serve(newer, own.folder, options) as server:
        assert advice(server) == "kettle"
        rolled = promote(own.folder, http_port, own.a.id, PromoteOptions(), report=lambda _: None)
        assert rolled.previous == newer.id
        assert retire(own.folder, http_port, grace_s=0) == [newer.serial]
        assert advice(server) is None

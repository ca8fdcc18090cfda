"""Suggestions on a real server: every way in answers alike; a generation brings them, and takes them away."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from trident.encoder.base_model import file_sha256
from trident.generation.generation import Generation, Identity, find_generation, generation_id, write_manifest
from trident.lexical.suggestions import SUGGESTIONS_FILE, Suggested, Suggestions, write_suggestions
from trident.probe.golden_check import check_serving
from trident.probe.running import find_running
from trident.promotion.promotion import PromoteOptions, promote, retire, rollback
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import AsyncSearchClient, InvalidRequestError, SearchClient, ServerUnavailableError, SuggestResult
from trident_export.repository import SUGGESTER, SUGGESTING, assemble
from trident_gateway.app import create_app
from trident_gateway.config import GatewayConfig

PREFIXES = ("", "a", "alb", "ALBA k", "kettel", "navy", "lamp ", "x")


def texts(result: SuggestResult) -> list[str]:
    return [each.text for each in result.suggestions]


def test_every_way_in_gives_the_same_suggestions(tiny_server: TritonServer, tiny_generations: Path) -> None:
    generation = find_generation(tiny_generations)
    own = Suggestions(generation.version_folder(SUGGESTER) / SUGGESTIONS_FILE)
    urls = tiny_server.urls
    with SearchClient(urls.grpc) as grpc, SearchClient(urls.http, protocol="http") as http:
        for prefix in PREFIXES:
            found = grpc.suggest(prefix, k=5)
            assert found == http.suggest(prefix, k=5)
            assert (found.prefix, found.generation) == (prefix, generation.id)
            assert found.model_version == generation.serial
            assert texts(found) == [each.text for each in own.complete(prefix, 5)]
        assert texts(grpc.suggest("alba k")) == ["alba kettle", *texts(grpc.suggest("alba k"))[1:]]
        assert texts(grpc.suggest("kettel", k=1)) == ["kettle"]
        assert grpc.suggest("x").suggestions == ()
        for client in (grpc, http):
            with pytest.raises(InvalidRequestError, match=r"^k must be 1 to 100, got 101$"):
                client.suggest("a", k=101)
            with pytest.raises(InvalidRequestError, match=r"^prefix must have at most 10,000 bytes, got 20,000$"):
                client.suggest("a" * 20_000)

    async def asked() -> SuggestResult:
        async with AsyncSearchClient(urls.grpc) as client:
            return await client.suggest("alb", k=3)

    expected = [each.text for each in own.complete("alb", 3)]
    assert texts(asyncio.run(asked())) == expected
    command = [sys.executable, "-m", "trident", "suggest", "alb", "-k", "3", "--url", urls.grpc, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [each["text"] for each in json.loads(done.stdout)["suggestions"]] == expected
    with TestClient(create_app(GatewayConfig(url=urls.grpc))) as gateway:
        answer = gateway.get("/suggest", params={"prefix": "alb", "k": 3})
        assert [each["text"] for each in answer.json()["suggestions"]] == expected
        refused = gateway.get("/suggest", params={"prefix": "alb", "k": 0})
        assert refused.status_code == 400
        assert "k: Input should be greater than or equal to 1" in refused.text
        assert gateway.get("/suggest").status_code == 400


def with_suggestions(generation: Generation, *known: str) -> Generation:
    """Return a copy of a generation that has suggestions, beside it."""
    path = generation.folder.parent / SUGGESTIONS_FILE
    write_suggestions(path, [Suggested(text, "query", 9) for text in known])
    parts = generation.manifest.parts | {"suggestions": file_sha256(path)}
    copy = generation.folder.with_name(generation_id(parts))
    subprocess.run(["cp", "-r", generation.folder, copy], check=True)
    (copy / "manifest.json").unlink()
    identity = replace(Identity.load(generation.version_folder("search")), id=copy.name)
    for file in copy.rglob("generation.json"):
        replace(Identity.load(file.parent), id=copy.name).save(file.parent)
    folders = assemble(copy / "model_repository", identity, dimension=32, models=SUGGESTING)
    path.rename(folders[SUGGESTER] / SUGGESTIONS_FILE)
    write_manifest(copy, replace(generation.manifest, id=copy.name, parts=parts, files={}))
    return Generation.load(copy)


def test_a_generation_brings_suggestions_and_takes_them_away(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path)
    newer, other = with_suggestions(own.b, "red kettle"), with_suggestions(own.a, "red lamp")
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)

    def go_to(generation: Generation) -> None:
        promote(own.folder, http_port, generation.id, PromoteOptions(), report=lambda _: None)
        assert check_serving(own.folder, server.urls.http).generation == generation.id

    def loaded() -> set[str]:
        return {row.model for row in find_running(own.folder, http_port).control.index() if row.state == "READY"}

    with serve(newer, own.folder, options) as server, SearchClient(server.urls.grpc, timeout_s=60) as client:
        assert client.suggest("red").suggestions[0].text == "red kettle"
        go_to(own.a)
        with pytest.raises(ServerUnavailableError, match=r"answers with a generation that has none: .*'suggest'"):
            client.suggest("red")
        assert client.search("red kettle").generation == own.a.id
        rollback(own.folder, http_port, report=lambda _: None)
        assert client.suggest("red").generation == newer.id
        go_to(own.a)
        assert retire(own.folder, http_port, grace_s=0) == [newer.serial]
        assert loaded() == {"search", "embed", "pipeline"}
        assert not (find_running(own.folder, http_port).folder.models / SUGGESTER).exists()
        go_to(newer)
        assert client.suggest("red").model_version == newer.serial
        assert retire(own.folder, http_port, grace_s=0) == [own.a.serial]
        assert client.suggest("red").suggestions[0].text == "red kettle"
    with serve(other, own.folder, options) as server, SearchClient(server.urls.grpc, timeout_s=60) as client:
        go_to(newer)  # between two that have some: each answers with its own
        assert texts(client.suggest("red")) == ["red kettle"]
        rollback(own.folder, http_port, report=lambda _: None)
        assert texts(client.suggest("red")) == ["red lamp"]

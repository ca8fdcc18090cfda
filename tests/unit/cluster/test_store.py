"""Where a generation's products are searched, as it says so, and what stands behind an address."""

from __future__ import annotations

import http.server
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import models

from trident.cluster.collection import Collection
from trident.cluster.connection import Connection
from trident.cluster.store import ADDRESS, STORE_FILE, Store, collection_of, generation_of, golden_of
from trident.errors import ConfigError, GenerationError, MissingExtraError, StoreAwayError, StoreError
from trident.retrieval.opened import open_retriever


def test_a_folder_says_where_its_products_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Store.load(tmp_path) is None
    made = Store(address="http://10.0.0.5:6333", shards=4, replicas=2)
    made.save(tmp_path)
    assert Store.load(tmp_path) == made
    monkeypatch.setenv(ADDRESS, "https://elsewhere")
    found = Store.load(tmp_path)
    assert found is not None
    assert (found.address, found.shards) == ("https://elsewhere", 4)
    monkeypatch.setenv(ADDRESS, "elsewhere")
    with pytest.raises(ConfigError, match=r"^store\.address must be http.*got 'elsewhere'$"):
        Store.load(tmp_path)
    (tmp_path / STORE_FILE).write_text('{"address": 7}')
    with pytest.raises(GenerationError, match=r"store\.json is damaged: .*; export again$"):
        Store.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"address": "10.0.0.5:6333"}, r"^store\.address must be http\(s\)://HOST:PORT without a key in it"),
        ({"address": "http://key@10.0.0.5"}, r"^store\.address must be http"),
        ({"timeout_s": 0.0}, r"^store\.timeout_s must be 0\.1 to 60, got 0$"),
        ({"shards": 0}, r"^store\.shards must be 1 to 1,000, got 0$"),
        ({"replicas": 11}, r"^store\.replicas must be 1 to 10, got 11$"),
    ],
)
def test_a_store_has_bounds(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        Store(**{"address": "http://10.0.0.5:6333", **values})


def test_collections_are_named_by_the_generation() -> None:
    assert generation_of(collection_of("0123456789abcdef")) == "0123456789abcdef"
    assert generation_of(golden_of("0123456789abcdef")) == "0123456789abcdef"
    for other in ("trident-live", "products", "trident-0123456789abcdef-old"):
        assert generation_of(other) is None


def test_an_alias_is_nothing_that_is_asked_or_dropped(collection: Collection, stand_in: Any) -> None:
    connection, real, alias = collection.connection, collection.name, collection_of("b" * 16)
    collection.create()
    change = {"create_alias": {"collection_name": real, "alias_name": alias}}
    httpx.post(f"{stand_in.address}/collections/aliases", json={"actions": [change]}).raise_for_status()
    assert connection.collections() == [real]
    assert Collection(connection, alias, collection.schema, 8).state() is None
    connection.drop(alias)
    assert connection.collections() == [real]
    with pytest.raises(StoreError, match=r"'products' is no collection of a generation$"):
        connection.drop("products")


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """Yield the address of a server that answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - their names there

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "text", "kind", "line"),
    [
        (200, '{"title": "qdrant", "version": "1.15.2"}', StoreError, r"must be Qdrant 1\.16 or later, got 1\.15\.2"),
        (200, '{"title": "x", "version": "new"}', StoreError, r"must be Qdrant 1\.16 or later, got new"),
        (200, '{"hello": 1}', StoreError, "answered what was asked for its version in no form that is known$"),
        (503, "{}", StoreAwayError, r"cannot answer its version now: 503"),
        (401, "{}", StoreError, r"refuses its version: 401"),
        (404, "{}", StoreError, r"does not have what was asked for its version"),
    ],
)
def test_what_is_no_engine_is_told(status: int, text: str, kind: type[Exception], line: str) -> None:
    with answering(status, text) as address, pytest.raises(kind, match=line):
        Connection(Store(address=address))


def test_as_many_answers_as_searches(files: Any) -> None:
    said = '{"title": "qdrant", "version": "1.16.0", "result": [], "status": "ok", "time": 0}'
    with answering(200, said) as address:
        collection = Collection(Connection(Store(address=address)), "trident-x", files.attributes.schema, 8)
        with pytest.raises(StoreError, match=r"^trident-x: 1 searches must be answered, got 0 answers$"):
            collection.query([models.QueryRequest(query=[1.0], limit=1)])


def test_who_is_away_or_silent_is_away_within_the_time(connection: Connection, stand_in: Any) -> None:
    quick = Connection(Store(address=stand_in.address, timeout_s=0.3))
    stand_in.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreAwayError, match=r"is away: its collections was not answered \(timed out\)$"):
        quick.collections()
    assert time.monotonic() - began < 10
    stand_in.signal(signal.SIGCONT)
    assert quick.collections() == connection.collections()
    stand_in.kill()
    with pytest.raises(StoreAwayError, match="Connection refused"):
        quick.collections()
    stand_in.start()
    assert quick.collections() == []
    quick.close()


def test_a_store_needs_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(address="http://10.0.0.5:6333").save(tmp_path)
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    for name in [name for name in sys.modules if name.startswith(("trident.cluster.", "trident.retrieval.clu"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"needs qdrant_client: run pip install 'trident-search\[cluster\]'$"):
        open_retriever(tmp_path)

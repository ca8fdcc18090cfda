"""Merchandisers' rules on a real server: what is asked after they were applied is answered by them, everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trident.generation.state import ServingFolder
from trident.probe.golden_check import check_serving
from trident.promotion.promotion import PromoteOptions, promote, rollback
from trident.rules.applying import apply_rules
from trident.rules.published import published_path
from trident.rules.ruleset import parse_rules, read_rules
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident.watch.options import WatchOptions
from trident_client import Hit, SearchClient, SearchResult

QUERY = "navy sofa"


def said(result: SearchResult) -> dict[str, Any]:
    """Return what rules did to an answer."""
    return {name: result.details[name] for name in ("rules", "redirect") if name in result.details}


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "trident", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def pinned(generations: Path, product: str) -> str:
    """Apply a pin, and return the version of the rules."""
    found = parse_rules({"pins": [{"queries": [QUERY], "products": [product]}]}, "rules.toml")
    return apply_rules(generations, found, "rules.toml")[0].version


def test_rules_hold_for_everything_that_is_asked_after_they_were_applied(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path / "generations")
    http_port, grpc_port, metrics_port = free_ports(3)
    log = tmp_path / "queries.jsonl"
    options = ServeOptions(
        http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, watch=WatchOptions(query_log=log)
    )
    with serve(own.a, own.folder, options) as server, SearchClient(server.urls.grpc, timeout_s=60) as client:
        before = client.search(QUERY, k=20)
        assert said(before) == {}
        _in_every_instance(own.folder, server)
        _by_the_command_line(own.folder, tmp_path, client, server)
        version = pinned(own.folder, before.hits[7].product_id)
        found = client.search(QUERY, k=20)
        _same(found.hits[0], before.hits[7])  # with its own cosine
        assert client.search(QUERY, k=20, rules=False).hits == before.hits
        assert check_serving(own.folder, server.urls.http).passed  # golden queries are asked without rules
        promote(own.folder, http_port, own.b.id, PromoteOptions(), report=lambda _: None)
        assert said(client.search(QUERY)) == {}  # the product is not there: the rule waits for it
        rollback(own.folder, http_port, report=lambda _: None)
        _same(client.search(QUERY, k=20).hits[0], before.hits[7])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and version not in log.read_text(encoding="utf-8"):
            time.sleep(0.2)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        assert version in {line.get("rules") for line in lines}
        assert "rules" not in next(line for line in lines if line["query"] == QUERY)


def _same(hit: Hit, other: Hit) -> None:
    """Raise unless both are one product with one score; a product that is put there is compared by other sums."""
    assert replace(hit, score=other.score) == other
    assert hit.score == pytest.approx(other.score, abs=1e-6)


def _in_every_instance(generations: Path, server: TritonServer) -> None:
    """Two instances answer when many ask at once; none answers by older rules."""
    with SearchClient(server.urls.grpc, timeout_s=60) as client, ThreadPoolExecutor(8) as pool:
        products = [hit.product_id for hit in client.search(QUERY, k=30).hits]
        for product in products[5:15]:
            version = pinned(generations, product)
            for result in pool.map(lambda _: client.search(QUERY, k=3), range(16)):
                assert result.hits[0].product_id == product
                assert said(result) == {"rules": {"version": version, "pins": 1}}


def _by_the_command_line(generations: Path, folder: Path, client: SearchClient, server: TritonServer) -> None:
    path = folder / "rules.toml"
    best = client.search(QUERY, rules=False).hits[0].product_id
    path.write_text(
        f'[[exclusions]]\nproducts = ["{best}"]\n[[redirects]]\nqueries = ["{QUERY}"]\nto = "/sofas"\n'
        '[[boosts]]\nfilter = { colour = "red" }\nby = 0.1\n'
    )
    refused = command("rules", "apply", path, "--generations", generations)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "trident: rules rules.toml are not applied: boosts 1: filter has no field 'colour'"
    )
    checked = command("rules", "check", path, "--generations", generations, "--json")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["faults"] == ["boosts 1: filter has no field 'colour': it has brand, stock"]
    path.write_text(path.read_text().replace('colour = "red"', 'brand = "Borex"').replace("0.1", "1"))
    assert command("rules", "check", path).returncode == 0
    applied = command("rules", "apply", path, "--generations", generations, "--json")
    assert applied.returncode == 0, applied.stderr
    found = client.search(QUERY)
    version = read_rules(path).rules.version
    assert json.loads(applied.stdout)["version"] == version
    assert said(found) == {"rules": {"version": version, "exclusions": 1, "boosts": 1}, "redirect": "/sofas"}
    assert best not in [hit.product_id for hit in found.hits]
    assert len(found.hits) == 10
    shown_brands = [hit.attributes["brand"] for hit in client.search(QUERY, k=60, fields=["brand"]).hits]
    assert set(shown_brands) == {"Borex"}
    shown = command("rules", "show", "--generations", generations)
    assert f"1 exclusions, 1 boosts, 1 redirects, version {version}, of rules.toml, since " in shown.stderr
    asked = command("search", QUERY, "--url", server.urls.grpc, "--no-rules", "--json")
    assert json.loads(asked.stdout)["hits"][0]["product_id"] == best


def test_a_cache_never_answers_by_older_rules(pair: Any, tmp_path: Path) -> None:
    own = pair.copy(tmp_path / "generations")
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, cache_size_bytes=2**20)
    product = own.a.golden()[0].product_ids[-1]
    version = pinned(own.folder, product)
    with serve(own.a, own.folder, options) as server, SearchClient(server.urls.grpc) as client:
        for _ in range(2):  # computed, and from the cache
            found = client.search(QUERY)
            assert found.hits[0].product_id == product
            assert said(found) == {"rules": {"version": version, "pins": 1}}
        path = tmp_path / "rules.toml"
        path.write_text("")
        refused = command("rules", "apply", path, "--generations", own.folder)
        assert refused.returncode == 1
        assert f"the server on HTTP port {http_port} has a response cache" in refused.stderr
        published_path(own.folder).unlink()  # should somebody do it by hand all the same
        assert client.search(QUERY, k=5).hits[0].product_id == product
        assert said(client.search("olive rake")) == {}
        folder = ServingFolder.of(own.folder, http_port)
        assert (folder.path / "rules.json").is_file()
    assert not (folder.path / "rules.json").exists()

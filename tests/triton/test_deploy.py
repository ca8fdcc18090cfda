"""The files of deploy/ against a real server: every query parses and asks for metrics that are there."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from trident.generation.generation import find_generation
from trident.server.runtime_repository import lay_out
from trident.server.server import ServerConfig, TritonServer, free_ports
from trident.watch import catalogue_metrics, serving_metrics
from trident.watch.options import WatchOptions
from trident.watch.serving_metrics import MetricInfo
from trident_client import SearchClient

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
OF_PROMETHEUS = {"up", "ALERTS"}
# Of a live catalogue; tests/triton/test_live_operation.py has a server with one.
LIVE = {value.name for value in vars(catalogue_metrics).values() if isinstance(value, MetricInfo)}
# Counted where a generation has one; tests/triton/test_reranking.py has a server with it.
OF_A_SECOND_STAGE = {
    info.name
    for info in (
        serving_metrics.RERANKED,
        serving_metrics.RERANK_CUT,
        serving_metrics.RERANK_PAIRS,
        serving_metrics.RERANK_SECONDS,
    )
}


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DEPLOY / "grafana" / "trident.json").read_text(encoding="utf-8"))
    return document


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus" / "trident-alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def operations() -> str:
    return (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")


def queries() -> dict[str, str]:
    """Return every PromQL query by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    found |= {f"annotation {each['name']}": each["expr"] for each in dashboard()["annotations"]["list"]}
    table = re.findall(r"`((?:sum|max|min|histogram_quantile)\b[^`]*)`", operations())
    found |= {f"docs/operations.md {query}": query for query in table}
    return {place: query.replace("$__range", "6h") for place, query in found.items()}


def metric_names(query: str) -> set[str]:
    names = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(node.name)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return names


@pytest.fixture(scope="module")
def shown(tiny_generations: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Return the names on the metrics port of a server with everything on, after a few searches."""
    folder = tmp_path_factory.mktemp("deploy")
    lay_out(folder / "models", find_generation(tiny_generations), cache=True, plan=None)
    http_port, grpc_port, metrics_port = free_ports(3)
    watch = WatchOptions(canary_share=1.0, query_log=folder / "queries.jsonl")
    config = ServerConfig(
        model_repository=folder / "models",
        load_models=("search",),
        model_config_name="cpu",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        cache_size_bytes=2**20,
        environment=watch.environment(),
    )
    with TritonServer(config) as server, SearchClient(server.urls.grpc) as client:
        client.search_many(["navy sofa", "crimson lamp"])
        client.search_many(["navy sofa", "crimson lamp"])
        deadline = time.monotonic() + 10
        while "trident_canary_recall" not in (names := names_on(server)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield names


def names_on(server: TritonServer) -> set[str]:
    connection = http.client.HTTPConnection(server.urls.metrics, timeout=5)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {re.split(r"[{ ]", line)[0] for line in lines if line and not line.startswith("#")}


def test_every_query_asks_for_metrics_of_a_real_server(shown: set[str]) -> None:
    missing = {
        place: names - shown - OF_PROMETHEUS - LIVE - OF_A_SECOND_STAGE for place, names in asked_by_place().items()
    }
    assert {place: names for place, names in missing.items() if names} == {}


def asked_by_place() -> dict[str, set[str]]:
    return {place: metric_names(query) for place, query in queries().items()}


def test_every_metric_of_ours_is_shown_watched_and_described(shown: set[str]) -> None:
    ours = {value.name for value in vars(serving_metrics).values() if isinstance(value, MetricInfo)}
    assert {name for name in shown if name.startswith("trident_")} == ours - OF_A_SECOND_STAGE
    assert ours | LIVE <= set().union(*asked_by_place().values())
    assert {name for name in ours if f"`{name}`" not in operations()} == set()


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells), "panels must not overlap"


def test_every_alert_has_its_runbook_entry() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
        for line in operations().splitlines()
        if line.startswith("#")
    }
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor in headings, rule["alert"]
        assert f"`{rule['alert']}`" in operations(), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_alert_is_tested_by_promtool_s_rules() -> None:
    tests = (DEPLOY / "prometheus" / "trident-alerts-test.yml").read_text(encoding="utf-8")
    assert all(f'alertname="{rule["alert"]}"' in tests for rule in rules())


def test_every_metric_of_a_live_catalogue_is_described() -> None:
    page = (REPOSITORY / "docs" / "live-catalogue.md").read_text(encoding="utf-8")
    assert {name for name in LIVE if f"`{name}`" not in page} == set()

"""What a watched server shows: counters, the canary, the query log, over mutual TLS; and who is not let in."""

from __future__ import annotations

import http.client
import json
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from trident.errors import ConfigError
from trident.generation.generation import find_generation
from trident.generation.state import ServingFolder
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident.server.tls import TlsFiles, tls_files
from trident.watch.options import WatchOptions
from trident.watch.serving_metrics import SCORE_BUCKET
from trident_client import InvalidRequestError, SearchClient, SearchResult, ServerUnavailableError, Tls

SHOWN_WITHIN_S = 5.0
LINE = {"time", "generation", "id", "query", "shown", "sequence"}


@dataclass(frozen=True)
class Certificates:
    """PEM files of two authorities, a server and clients."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def tls(self, client: str = "client") -> Tls:
        return Tls(ca=self["ca.pem"], certificate=self[f"{client}.pem"], key=self[f"{client}.key"])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ours, others = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    others.cert_pem.write_to_path(folder / "other-ca.pem")
    issued = {
        "server": ours.issue_cert("127.0.0.1"),
        "client": ours.issue_cert("shop@example.org"),
        "stranger": others.issue_cert("shop@example.org"),
    }
    for name, certificate in issued.items():
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    return Certificates(folder)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> WatchOptions:
    return WatchOptions(canary_share=1.0, query_log=tmp_path_factory.mktemp("log") / "queries.jsonl")


@pytest.fixture(scope="module")
def server(tiny_generations: Path, certificates: Certificates, watch: WatchOptions) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    tls = TlsFiles(
        certificate=certificates["server.pem"], key=certificates["server.key"], client_ca=certificates["ca.pem"]
    )
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, tls=tls, watch=watch)
    with serve(find_generation(tiny_generations), tiny_generations, options) as started:
        yield started


@pytest.fixture
def client(server: TritonServer, certificates: Certificates) -> Iterator[SearchClient]:
    with SearchClient(server.urls.grpc, tls=certificates.tls()) as opened:
        yield opened


def samples(server: TritonServer, name: str) -> list[Sample]:
    """Return the lines of a metric on Triton's metrics port."""
    connection = http.client.HTTPConnection(server.urls.metrics, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return [
        sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name
    ]


def total(server: TritonServer, name: str, **labels: str) -> float:
    """Return the sum of a metric over what the labels leave open."""
    return sum(sample.value for sample in samples(server, name) if labels.items() <= sample.labels.items())


def settled(server: TritonServer, name: str, expected: float) -> float:
    """Return a metric's value as soon as it is the expected one, or what it is in the end."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while (found := total(server, name)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def checked(server: TritonServer) -> float:
    """Return how many queries the canary is done with; it drew them all."""
    return total(server, "trident_canary_queries_total") + total(server, "trident_canary_dropped_total")


def test_searches_empty_answers_and_scores_are_counted(server: TritonServer, client: SearchClient) -> None:
    before = {name: total(server, name) for name in ("trident_searches_total", "trident_empty_results_total")}
    buckets = {bound: total(server, "trident_top_score_bucket_total", le=bound) for bound in SCORE_BUCKET.values}
    score_sum = total(server, "trident_top_score_sum_total")
    results: list[SearchResult] = client.search_many([f"navy {thing}" for thing in ("sofa", "lamp", "rake")] * 30)
    nothing = client.search_many(["navy sofa"] * 7, min_score=1.0)
    assert settled(server, "trident_searches_total", before["trident_searches_total"] + 97) == (
        before["trident_searches_total"] + 97
    )
    assert all(not result.hits for result in nothing)
    assert total(server, "trident_empty_results_total") == before["trident_empty_results_total"] + 7
    scores = np.array([result.hits[0].score for result in results])
    for bound in SCORE_BUCKET.values:
        found = total(server, "trident_top_score_bucket_total", le=bound) - buckets[bound]
        assert found == (scores <= float(bound)).sum(), bound
    assert total(server, "trident_top_score_sum_total") - score_sum == pytest.approx(scores.sum(), abs=1e-3)
    own = {(each.labels["generation"], each.labels["serial"]) for each in samples(server, "trident_searches_total")}
    assert own == {(results[0].generation, str(results[0].model_version))}


def test_the_canary_measures_live_queries(server: TritonServer, client: SearchClient) -> None:
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while checked(server) != total(server, "trident_searches_total"):  # of the tests before
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = total(server, "trident_canary_queries_total")
    for number in range(20):
        client.search(f"crimson kettle {number}", k=1 + number)
    assert settled(server, "trident_canary_queries_total", before + 20) == before + 20
    recalls = {each.value for each in samples(server, "trident_canary_recall")}
    assert recalls == {1.0}  # ef is larger than the catalogue
    assert total(server, "trident_canary_found_total") == total(server, "trident_canary_wanted_total") > 0


def test_the_generation_in_service_is_that_of_the_state(server: TritonServer) -> None:
    folder = ServingFolder(server.config.model_repository.parent)
    state = folder.state()
    assert state is not None
    instances = float(len(samples(server, "trident_generation_serving")))
    assert instances == 2.0
    assert settled(server, "trident_generation_serving", instances) == instances
    try:
        folder.restore_state(replace(state, serving="0123456789abcdef"))
        assert settled(server, "trident_generation_serving", 0.0) == 0.0
    finally:
        folder.restore_state(state)
    assert settled(server, "trident_generation_serving", instances) == instances


def test_the_query_log_holds_what_was_typed(server: TritonServer, client: SearchClient, watch: WatchOptions) -> None:
    log = watch.query_log
    assert log is not None
    lines = total(server, "trident_query_log_lines_total")
    results = client.search_many(["ivory Größe sofa", "navy lamp"])
    client.embed(["only embedded"])
    assert settled(server, "trident_query_log_lines_total", lines + 2) == lines + 2
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {row["query"] for row in rows[-2:]} == {"ivory Größe sofa", "navy lamp"}  # of two processes, maybe
    assert all({"time", "generation", "query"} <= row.keys() <= LINE for row in rows)
    by_id = {row.get("id"): row for row in rows}
    for result in results:
        row = by_id[result.id]
        assert (row["query"], row["generation"]) == (result.query, result.generation)
        assert row["shown"] == [hit.product_id for hit in result.hits]
    assert not any("only embedded" in row["query"] for row in rows)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert total(server, "trident_query_log_dropped_total") == 0


def test_who_shows_no_certificate_is_not_let_in(server: TritonServer, certificates: Certificates) -> None:
    for tls in (None, Tls(ca=certificates["ca.pem"]), certificates.tls("stranger")):
        with (
            SearchClient(server.urls.grpc, tls=tls, timeout_s=5) as outsider,
            pytest.raises(
                ServerUnavailableError, match="closed the connection at once: if its gRPC speaks TLS pass tls="
            ),
        ):
            outsider.search("navy sofa")
        with SearchClient(server.urls.grpc, tls=tls, timeout_s=5) as outsider:
            assert not outsider.is_ready()


def test_one_sided_tls_asks_clients_for_no_certificate(tiny_generations: Path, certificates: Certificates) -> None:
    http_port, grpc_port, metrics_port = free_ports(3)
    tls = TlsFiles(certificate=certificates["server.pem"], key=certificates["server.key"])
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, tls=tls)
    with serve(find_generation(tiny_generations), tiny_generations, options) as started:
        for trusted in (Tls(ca=certificates["ca.pem"]), certificates.tls(), certificates.tls("stranger")):
            with SearchClient(started.urls.grpc, tls=trusted) as client:
                assert client.is_ready()
                assert len(client.search("navy sofa", k=3).hits) == 3
        with (
            SearchClient(started.urls.grpc, tls=None, timeout_s=5) as client,
            pytest.raises(ServerUnavailableError, match="closed the connection at once: if its gRPC speaks TLS pass"),
        ):
            client.search("navy sofa")
        with (
            SearchClient(started.urls.grpc, tls=Tls(ca=certificates["other-ca.pem"]), timeout_s=5) as client,
            pytest.raises(ServerUnavailableError, match="must be signed by a trusted"),
        ):
            client.search("navy sofa")


def test_a_client_trusts_only_the_authority_it_is_given(server: TritonServer, certificates: Certificates) -> None:
    pair = {"certificate": certificates["client.pem"], "key": certificates["client.key"]}
    for tls in (Tls(ca=certificates["other-ca.pem"], **pair), Tls(**pair)):
        with (
            SearchClient(server.urls.grpc, tls=tls, timeout_s=5) as client,
            pytest.raises(ServerUnavailableError, match=r"certificate of the server at .* must be signed by a trusted"),
        ):
            client.search("navy sofa")
    port = server.urls.grpc.rpartition(":")[2]
    with (
        SearchClient(f"localhost:{port}", tls=certificates.tls(), timeout_s=5) as client,
        pytest.raises(ServerUnavailableError, match=r"and name that host: pass .* Hostname Verification Check failed"),
    ):
        client.search("navy sofa")


def test_the_command_line_speaks_tls(
    server: TritonServer, certificates: Certificates, run_trident: Callable[..., object]
) -> None:
    files = ("--tls-ca", certificates["ca.pem"], "--tls-cert", certificates["client.pem"])
    key = ("--tls-key", certificates["client.key"])
    done = run_trident("search", "navy sofa", "--url", server.urls.grpc, "--json", *files, *key)
    assert len(json.loads(done.stdout)["hits"]) == 10
    refused = run_trident("search", "navy sofa", "--url", server.urls.grpc, *files)
    assert refused.returncode == 1
    assert "a client's certificate and its key go together, got the certificate only" in refused.stderr


def test_http_stays_on_this_machine_beside_tls(certificates: Certificates, server: TritonServer) -> None:
    everywhere = TritonServer(server.config.__class__(**{**vars(server.config), "host": "0.0.0.0"}))
    assert everywhere.config.http_host == "127.0.0.1"
    assert everywhere.urls.http == server.urls.http
    connection = http.client.HTTPConnection(server.urls.http, timeout=5)
    connection.request("GET", "/v2/health/ready")
    assert connection.getresponse().status == 200
    connection.close()


def test_files_that_are_no_certificate_and_key_are_refused(certificates: Certificates, tmp_path: Path) -> None:
    pem, key, ca = certificates["server.pem"], certificates["server.key"], certificates["ca.pem"]
    with pytest.raises(ConfigError, match=r"--tls-cert and --tls-key must be .* \(key values mismatch\)"):
        TlsFiles(certificate=pem, key=certificates["client.key"])
    with pytest.raises(ConfigError, match=r"--tls-cert and --tls-key must be .*/none .* \(No such file or directory\)"):
        TlsFiles(certificate=tmp_path / "none", key=key)
    with pytest.raises(ConfigError, match=r"--tls-client-ca must be a PEM file of certificates, got .*server\.key"):
        TlsFiles(certificate=pem, key=key, client_ca=key)
    with pytest.raises(ConfigError, match="TLS needs --tls-cert and --tls-key together"):
        tls_files(pem, None, ca)
    encrypted = tmp_path / "encrypted.key"
    made = serialization.load_pem_private_key(key.read_bytes(), password=None)
    pkcs8, cipher = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    encrypted.write_bytes(made.private_bytes(serialization.Encoding.PEM, pkcs8, cipher))
    with pytest.raises(ConfigError, match="the key is encrypted: tritonserver cannot ask for its password"):
        TlsFiles(certificate=pem, key=encrypted)
    with pytest.raises(InvalidRequestError, match="the key is encrypted"):
        Tls(certificate=pem, key=encrypted)
    assert tls_files(None, None, None) is None
    assert tls_files(pem, key, None) == TlsFiles(certificate=pem, key=key)
    with pytest.raises(
        InvalidRequestError, match=r"TLS needs PEM files of certificates and their key, got .*server\.key"
    ):
        Tls(ca=key)
    with pytest.raises(
        InvalidRequestError, match="names a scheme without TLS, but tls is given: write grpcs:// or https"
    ):
        SearchClient("http://127.0.0.1:8000", protocol="http", tls=Tls(ca=ca))

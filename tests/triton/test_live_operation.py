"""A live catalogue in operation: health, metrics, promotions, rollbacks, compactions, and what excludes it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
import urllib.request

import pytest
from live_servers import TITLE, found

from trident.commands.catalogue import _promote_compacted
from trident.compaction import by_itself
from trident.errors import ConfigError, LiveError, LogError, ServerError
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.journal.standing import OwnStanding, standings
from trident.live.operations import Product, encode_record
from trident.live.preparing import recover, vector_file
from trident.probe.tail_check import TailCheck
from trident.promotion.promotion import PromoteOptions, promote, rollback
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import (
    SearchClient,
)


def test_health_asks_each_process_for_what_was_written_last(live, own, tmp_path):
    check, serving = TailCheck(own.folder, live.urls.http, lag_s=2), ServingFolder.of(own.folder, live.config.http_port)
    with SearchClient(live.urls.grpc, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as client:
        client.upsert([{"id": "asked-for", "title": TITLE}])
        check.require()
        there = [each for each in standings(serving.path) if each.serial == own.a.serial]
        assert len(there) == 2
        os.kill(there[0].pid, signal.SIGSTOP)
        try:
            number = client.delete(["asked-for"]).number
            with pytest.raises(
                ServerError, match=rf"process {there[0].pid} answers with number \d+ .* was at {number}"
            ):
                check.require()
        finally:
            os.kill(there[0].pid, signal.SIGCONT)
        check.require()
    other = tmp_path / "other"  # whose log has a product that this server does not
    shutil.copytree(own.a.folder, other / own.a.id)
    recover(LiveFolder.of(other))
    log = Log.open(LiveFolder.of(other).log)
    log.append([encode_record("elsewhere", Product(title=TITLE, attributes={}))])
    Published(LiveFolder.of(other).published).write(log.last, log.lineage)
    log.close()
    beside = ServingFolder.of(other, live.config.http_port)
    beside.path.mkdir(parents=True)
    beside.write_state(own.a.id, None)
    OwnStanding(beside.path, own.a.serial).tell(1, 1)
    with pytest.raises(
        ServerError, match=r"'elsewhere' was written as number 1 and is not found: .*like must be the id"
    ):
        TailCheck(other, live.urls.http).require()


def test_the_metrics_say_how_far_writer_and_readers_are(client, live):
    client.upsert([{"id": "measured", "title": TITLE}])
    number = client.delete(["measured"]).number
    deadline, wanted = time.monotonic() + 15, {"trident_catalogue_number", "trident_catalogue_sequence"}
    while True:
        with urllib.request.urlopen(f"http://{live.urls.metrics}/metrics") as answer:
            lines = re.findall(r"^(trident_catalogue_\w+)\{[^}]*\} (\S+)$", answer.read().decode(), re.MULTILINE)
        reached = {name for name, value in lines if float(value) >= number}
        if wanted <= reached:
            break
        assert time.monotonic() < deadline, lines
        time.sleep(0.5)
    others = ("tail", "tail_limit", "stopped", "gone_share", "log_bytes", "since_compaction_seconds")
    others += ("follows", "compaction_failures", "operations_total", "answered_total", "answered_seconds_total")
    assert {name for name, _ in lines} == wanted | {f"trident_catalogue_{name}" for name in others}
    seconds = sum(float(value) for name, value in lines if name == "trident_catalogue_answered_seconds_total")
    operations = sum(float(value) for name, value in lines if name == "trident_catalogue_answered_total")
    assert 0 < seconds < 10 * operations


def test_a_second_server_over_the_folder_is_refused(live, own):
    ports = free_ports(3)
    options = ServeOptions(http_port=ports[0], grpc_port=ports[1], metrics_port=ports[2], live=True)
    with pytest.raises(LogError, match=r"another server writes to .*\.live"), serve(own.a, own.folder, options):
        pass


def test_serving_without_live_over_a_log_that_goes_beyond_is_refused(live, own, client):
    client.upsert([{"id": "x", "title": "a title"}])
    ports = free_ports(3)
    options = ServeOptions(http_port=ports[0], grpc_port=ports[1], metrics_port=ports[2])
    with (
        pytest.raises(LogError, match=r"and generation \w+ to 0: serve it with --live, or what was deleted"),
        serve(own.a, own.folder, options),
    ):
        pass
    client.delete(["x"])


def test_what_excludes_a_live_catalogue_is_refused(run_warm):
    done = run_warm("serve", "--auto-compact")
    assert (done.returncode, "--auto-compact needs --live: there is nothing to compact" in done.stderr) == (2, True)
    with pytest.raises(ConfigError, match=r"--cache and --live exclude each other"):
        ServeOptions(cache_size_bytes=1, live=True)
    with pytest.raises(ConfigError, match=r"--live needs --variant cpu, got stages"):
        ServeOptions(variant="stages", live=True)


def wait_for_vector(own, generation, title: str) -> None:
    """Return when a generation's encoder has embedded a title."""
    deadline = time.monotonic() + 60
    while True:
        file = vector_file(LiveFolder.of(own.folder), generation)
        missing = file.missing([title])
        file.close()
        if not missing:
            return
        assert time.monotonic() < deadline, f"{title} has no vector of {generation.id}"
        time.sleep(0.1)


def test_promotion_and_rollback_lose_nothing_and_bring_nothing_back(live, own, client):
    port = live.config.http_port
    product = client.search(TITLE, k=1).hits[0].product_id
    client.delete([product])
    client.upsert([{"id": "kept", "title": TITLE}])
    number = 0
    for wanted in ("b", "a"):
        target = getattr(own, wanted).id
        promote(own.folder, port, target, PromoteOptions(), report=lambda _: None)
        result = client.search(TITLE, k=400)
        assert result.generation == target
        ids = {hit.product_id for hit in result.hits}
        assert "kept" in ids
        assert product not in ids
        assert result.details["sequence"] >= number
        title = f"{TITLE} after {wanted} {number}"  # of its own, under both protocols
        number = client.upsert([{"id": f"after-{wanted}", "title": title}]).number
        assert f"after-{wanted}" in found(client, TITLE, 400)
        wait_for_vector(own, own.other(getattr(own, wanted)), title)  # a rollback will embed nothing
    rollback(own.folder, port, report=lambda _: None)
    assert {"kept", "after-a", "after-b"} <= set(found(client, TITLE, 400))
    promote(own.folder, port, own.a.id, PromoteOptions(), report=lambda _: None)
    client.delete(["kept", "after-a", "after-b"])
    client.upsert([{"id": product, "title": TITLE}])


def test_a_compaction_that_a_promotion_overtook_does_not_undo_it(live, own):
    words = rf"generation made was made of before and is not promoted: {own.a.id} serves meanwhile; compact again"
    with pytest.raises(LiveError, match=words):
        _promote_compacted(own.folder, live.config.http_port, "before", "made")


@pytest.mark.timeout(900)  # on a machine with much else to do
def test_a_compaction_that_begins_by_itself_serves_the_same_catalogue_with_an_empty_tail(
    live, own, whole_catalogue, monkeypatch
):
    monkeypatch.setattr(by_itself, "GRACE_S", 0.0)
    port, said = live.config.http_port, []
    with SearchClient(live.urls.grpc, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as client:
        client.upsert([{"id": "compacted", "title": TITLE, "attributes": {"brand": "Later", "stock": 5}}])
        before = whole_catalogue(client)
        began = client.catalogue_stats()
        assert began["tail"] > 0
        with by_itself.CompactionByItself(own.folder, port, report=said.append, share=1 / 50_000):
            deadline = time.monotonic() + 800
            while not said or "is compacted" not in said[-1]:
                assert time.monotonic() < deadline, said
                assert not any("failed" in line for line in said), said
                client.update([{"id": "compacted", "attributes": {"stock": time.monotonic_ns() % 90}}])
                time.sleep(0.2)
        client.update([{"id": "compacted", "attributes": {"stock": 5}}])
        assert whole_catalogue(client) == before
        now = client.catalogue_stats()
        assert (now["tail"], now["holds"] > began["holds"]) == (0, True)
        assert now["generation"] != began["generation"]
        rollback(own.folder, port, report=lambda _: None)
        assert whole_catalogue(client) == before
        client.delete(["compacted"])

"""Promotion, rollback, verification and listing, against a real server; and who may control it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError, GenerationError, ServerError
from trident.generation.generation import find_generation, generation_by_id
from trident.generation.state import ServingFolder
from trident.probe.golden_check import check_golden, check_serving, port_of
from trident.probe.running import find_running
from trident.promotion.promotion import PromoteOptions, check_grace, promote, retire, rollback
from trident.promotion.switching import unload_others
from trident.quality.gate_report import GateError
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, prepare, serve
from trident_client import SearchClient

QUIET = PromoteOptions()


def silent(line: str) -> None:
    """Report nothing."""


def versions(own: Any, port: int, model: str) -> set[int]:
    return find_running(own.folder, port).control.loaded(model)


def hits(server: TritonServer) -> set[tuple[str, int, str]]:
    """Return generation, version and first letter of the products that answers have, over both protocols."""
    found = set()
    for protocol, url in (("grpc", server.urls.grpc), ("http", server.urls.http)):
        with SearchClient(url, protocol=protocol) as client:  # type: ignore[arg-type]
            result = client.search("navy sofa")
            assert len(result.hits) == 10
            found |= {(result.generation, result.model_version, hit.product_id[0]) for hit in result.hits}
    return found


def test_promote_and_back(server: TritonServer, own: Any, port: int) -> None:
    lines: list[str] = []
    made = promote(own.folder, port, own.b.id, QUIET, report=lines.append)
    assert (made.generation, made.previous, made.forced) == (own.b.id, own.a.id, None)
    assert made.asked == len(own.b.golden())
    assert 0 < made.switch_ms < made.seconds * 1000
    assert lines == [f"loading generation {own.b.id} beside {own.a.id}"]
    assert hits(server) == {(own.b.id, own.b.serial, "b")}
    state = ServingFolder.of(own.folder, port).state()
    assert state is not None
    assert (state.serving, state.previous) == (own.b.id, own.a.id)
    assert versions(own, port, "pipeline") == {own.a.serial, own.b.serial}  # until it is retired
    assert versions(own, port, "search") == versions(own, port, "embed") == {own.b.serial}
    assert versions(own, port, "candidate") == set()
    assert retire(own.folder, port, grace_s=0) == [own.a.serial]
    assert versions(own, port, "pipeline") == {own.b.serial}

    back = rollback(own.folder, port, report=silent)
    assert (back.generation, back.previous) == (own.a.id, own.b.id)
    assert hits(server) == {(own.a.id, own.a.serial, "a")}
    events = ServingFolder.of(own.folder, port).history()[-2:]
    assert [(event.action, event.outcome, event.target) for event in events] == [
        ("promote", "done", own.b.id),
        ("rollback", "done", own.a.id),
    ]
    assert events[0].switch_ms == made.switch_ms


def test_what_the_gate_says_counts(server: TritonServer, own: Any, port: int) -> None:
    asked: list[tuple[str, str]] = []

    def refusing(candidate: Any, serving: Any) -> str | None:
        asked.append((candidate.id, serving.id))
        raise GateError("the gate refuses: not today", report=None)  # type: ignore[arg-type]

    with pytest.raises(GateError, match="not today"):
        promote(own.folder, port, own.b.id, PromoteOptions(gate=refusing), report=silent)
    assert asked == [(own.b.id, own.a.id)]
    assert hits(server) == {(own.a.id, own.a.serial, "a")}
    assert versions(own, port, "pipeline") == {own.a.serial}
    event = ServingFolder.of(own.folder, port).history()[-1]
    assert (event.outcome, event.reason) == ("refused", "the gate refuses: not today")

    overruled = PromoteOptions(gate=lambda candidate, serving: "summer sale")
    assert promote(own.folder, port, own.b.id, overruled, report=silent).forced == "summer sale"
    assert ServingFolder.of(own.folder, port).history()[-1].forced == "summer sale"


def test_one_promotion_at_a_time(own: Any, port: int) -> None:
    folder = ServingFolder.of(own.folder, port)
    with folder.lock():
        for switch in (
            lambda: promote(own.folder, port, own.b.id, QUIET, report=silent),
            lambda: rollback(own.folder, port, report=silent),
        ):
            with pytest.raises(ServerError, match="another promotion or rollback is under way"):
                switch()

    def promoting(candidate: Any, serving: Any) -> str | None:
        promote(own.folder, port, own.b.id, QUIET, report=silent)  # somebody else, while the gate is asked
        return None

    with pytest.raises(GenerationError, match=f"generation {own.a.id} served when promote began, now {own.b.id} does"):
        promote(own.folder, port, own.b.id, PromoteOptions(gate=promoting), report=silent)
    assert check_serving(own.folder, f"127.0.0.1:{port}").generation == own.b.id


def test_one_of_an_earlier_trident_is_not_promoted(run_warm: Callable[..., Any], own: Any, port: int) -> None:
    manifest = own.b.folder / "manifest.json"
    written = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(written), "format": 1}))
    refused = run_warm("promote", own.b.id, "--generations", own.folder, "--http-port", str(port))
    manifest.write_text(written)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1] == (
        f"trident: generation {own.b.id} was made by an earlier Trident (format 1, this one reads 4): export again"
    )


def test_what_serves_is_not_promoted_again(own: Any, port: int) -> None:
    with pytest.raises(GenerationError, match=f"generation {own.a.id} is serving already"):
        promote(own.folder, port, own.a.id, QUIET, report=silent)


def test_a_promotion_that_was_cut_off_is_put_right(server: TritonServer, own: Any, port: int) -> None:
    folder = ServingFolder.of(own.folder, port)
    before = folder.state()
    assert before is not None
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    folder.restore_state(before)  # as if killed between the switch and the last line
    report = check_serving(own.folder, server.urls.http, switch_s=0.5)
    assert report.differences == (f"every answer must come from generation {own.a.id}, got answers of {own.b.id}",)
    assert rollback(own.folder, port, report=silent).generation == own.a.id
    assert check_serving(own.folder, server.urls.http).passed


def test_a_check_in_the_middle_of_a_promotion_waits_for_its_state(server: TritonServer, own: Any, port: int) -> None:
    folder = ServingFolder.of(own.folder, port)
    before = folder.state()
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    after = folder.state()
    assert before is not None
    assert after is not None
    folder.restore_state(before)
    writing = threading.Timer(2.5, lambda: folder.restore_state(after))
    writing.start()
    report = check_serving(own.folder, server.urls.http)
    writing.join()
    assert (report.generation, report.differences) == (own.b.id, ())


def test_the_state_is_not_that_of_another_folders_server(
    server: TritonServer, own: Any, port: int, pair: Any, tmp_path: Path
) -> None:
    """A record and a key that were left behind name a port that a server of another folder has now."""
    shutil.copytree(pair.b.folder, tmp_path / own.b.id)
    theirs, folder = find_running(own.folder, port), ServingFolder.of(tmp_path, port)
    folder.path.mkdir(parents=True)
    folder.write_server(theirs.record)
    folder.make_key()
    before = folder.write_state(own.b.id, own.b.id)
    with pytest.raises(ServerError, match=r"refused /v2/repository/index \(403\): This API is restricted"):
        rollback(tmp_path, port, report=silent)
    folder.key_path.write_text(theirs.folder.key())
    with pytest.raises(GenerationError, match=f"generation '{own.a.id}' is not in "):
        rollback(tmp_path, port, report=silent)
    assert folder.state() == before


def test_one_trident_serve_on_a_port(server: TritonServer, own: Any, port: int) -> None:
    folder = ServingFolder.of(own.folder, port)
    record, key = folder.server(), folder.key()
    grpc_port, metrics_port = free_ports(2)
    options = ServeOptions(http_port=port, grpc_port=grpc_port, metrics_port=metrics_port)
    with (
        pytest.raises(ServerError, match=rf"another trident serve has port {port} \(.*\): stop it, or choose another"),
        serve(own.b, own.folder, options),
    ):
        pass
    assert (folder.server(), folder.key()) == (record, key)
    promote(own.folder, port, own.b.id, QUIET, report=silent)  # the repository is there, too


def test_another_version_than_the_generations_is_a_difference(server: TritonServer, own: Any, port: int) -> None:
    path = own.a.folder / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace(f'"serial": {own.a.serial}', '"serial": 77'))
    try:
        report = check_serving(own.folder, server.urls.http, switch_s=0)
    finally:
        path.write_text(text)
    assert report.differences == (
        f"generation {own.a.id} must answer as version 77 of 'search', got version {own.a.serial}",
    )


def test_verify_says_which_answers_are_wrong(
    run_warm: Callable[..., Any], server: TritonServer, own: Any, port: int
) -> None:
    options = ("--generations", own.folder, "--url", server.urls.http)
    right = run_warm("verify", *options, "--json")
    assert right.returncode == 0
    assert json.loads(right.stdout) == {
        "generation": own.a.id,
        "asked": len(own.a.golden()),
        "differences": [],
        "others": False,
        "passed": True,
        "url": server.urls.http,
    }
    path = own.a.folder / "golden.json"
    text = path.read_text()
    rows = json.loads(text)
    rows[0]["product_ids"].reverse()
    path.write_text(json.dumps(rows))
    wrong = run_warm("verify", *options)
    path.write_text(text)
    assert wrong.returncode == 1
    assert f"'{rows[0]['query']}': place 1 must be product {rows[0]['product_ids'][0]}" in wrong.stderr
    assert wrong.stderr.splitlines()[-1].startswith(f"trident: the server at {server.urls.http} must answer the ")
    assert run_warm("verify", "--generations", own.folder, "--url", "127.0.0.1:1").returncode == 1


def test_the_command_line(run_warm: Callable[..., Any], server: TritonServer, own: Any, port: int) -> None:
    options = ("--generations", own.folder, "--http-port", str(port))
    forced = ("--force", "to see it", "--set", "gate.latency_ratio=1e-6", "--grace", "0")
    made = run_warm("promote", own.b.id, *options, *forced, "--json", "--retain", "1")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["generation"] == own.b.id
    assert f"unloaded version {own.a.serial}" in made.stderr
    listed = json.loads(run_warm("generations", *options, "--json").stdout)["generations"]
    assert [(row["id"], row["serving"], row["previous"], row["loaded"]) for row in listed] == [
        (own.b.id, True, False, True),
        (own.a.id, False, True, False),  # kept, because it served before
    ]
    assert all(0 < row["roc_auc"] < 1 and row["size_bytes"] > 1000 for row in listed)
    assert listed[0]["gate"] == "forced"
    judged = generation_by_id(own.folder, own.b.id).manifest.gate[-1]
    assert (judged["by"], judged["forced"], judged["passed"]) == ("promote", "to see it", False)
    assert [check["passed"] for check in judged["checks"] if check["name"] == "latency_ratio"] == [False]
    assert ServingFolder.of(own.folder, port).history()[-1].forced == "to see it"
    back = run_warm("rollback", *options, "--grace", "0")
    assert back.returncode == 0, back.stderr
    assert f"generation {own.a.id} serves, {own.b.id} did before: switched in " in back.stderr
    table = run_warm("generations", *options).stdout
    assert "serving, loaded" in table
    shown = run_warm("search", "navy sofa", "--url", server.urls.grpc)
    assert f"generation {own.a.id} (version {own.a.serial})" in shown.stderr
    own.b.verify_files()


def test_the_command_line_shows_what_the_gate_measured(
    run_warm: Callable[..., Any], server: TritonServer, own: Any, port: int
) -> None:
    options = ("--generations", own.folder, "--http-port", str(port), "--set", "gate.latency_ratio=1e-6")
    judged = generation_by_id(own.folder, own.b.id).manifest.gate
    refused = run_warm("promote", own.b.id, *options)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert f"gate: generation {own.b.id} against {own.a.id}" in refused.stderr
    for name in ("golden", "recall_at_10", "overlap_at_10", "latency_ratio"):
        assert f" {name} " in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith(f"trident: the gate refuses generation {own.b.id}, judged agains")
    numbers = json.loads((own.folder / ".serving" / str(port) / "refusal.json").read_text())
    assert (numbers["candidate"], numbers["serving"], numbers["passed"]) == (own.b.id, own.a.id, False)
    assert "latency_ratio" in [check["name"] for check in numbers["checks"] if not check["passed"]]
    assert generation_by_id(own.folder, own.b.id).manifest.gate == judged  # only what is let through is kept there
    assert hits(server) == {(own.a.id, own.a.serial, "a")}


def test_the_one_that_served_last_is_served_again(server: TritonServer, own: Any, port: int) -> None:
    assert find_generation(own.folder).id == own.a.id  # the newest
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    assert prepare(own.folder, http_port=port).id == own.b.id
    assert prepare(own.folder, own.a.id, http_port=port).id == own.a.id
    assert prepare(own.folder, http_port=1).id == own.a.id
    for bad in ("../" + own.a.id, "", own.a.id.upper(), own.a.id[:8]):
        with pytest.raises(GenerationError, match="a generation's id must be 16 hexadecimal digits, got "):
            prepare(own.folder, bad, http_port=port)


def test_without_a_server_the_port_is_named(own: Any, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no server of .* is ready on HTTP port 1: start one with trident serve"):
        promote(own.folder, 1, own.b.id, QUIET, report=silent)
    with pytest.raises(ServerError, match=r"tritonserver at 127\.0\.0\.1:1 does not answer"):
        check_golden("127.0.0.1:1", own.a)
    with pytest.raises(ServerError, match="--url must be HOST:PORT of the server's HTTP"):
        port_of("localhost")
    with pytest.raises(ConfigError, match="--grace must be >= 0 seconds, got -1"):
        check_grace(-1)


def test_the_first_generation_has_none_to_go_back_to(server: TritonServer, own: Any, port: int) -> None:
    folder = ServingFolder.of(own.folder, port)
    state = folder.state()
    assert state is not None
    (folder.path / "state.json").unlink()
    with pytest.raises(ServerError, match=r"has no state\.json: start trident serve again"):
        rollback(own.folder, port, report=silent)
    folder.write_state(own.a.id, None)
    with pytest.raises(GenerationError, match="is the first that serves on this port, there is none to go back to"):
        rollback(own.folder, port, report=silent)
    folder.restore_state(state)


def test_what_takes_too_long_is_named(server: TritonServer, own: Any, port: int) -> None:
    running = find_running(own.folder, port)
    with pytest.raises(ServerError, match=r"version 99 of model 'pipeline' was not ready within 0\.1 s"):
        running.control.wait_until_ready("pipeline", 99, timeout_s=0.1)
    promote(own.folder, port, own.b.id, QUIET, report=silent)
    with pytest.raises(ServerError, match=rf"version {own.a.serial} of '\w+' was not unloaded within 0 s"):
        unload_others(running, own.b, timeout_s=0)
    with pytest.raises(ServerError, match="answered 404 to /v2/models/nobody/infer: Request for unknown model"):
        check_golden(server.urls.http, own.b, model="nobody")

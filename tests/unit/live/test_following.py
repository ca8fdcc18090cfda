"""A server that follows: it refuses writes, says whom it follows, and writes when it has taken over."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.errors import ConfigError, FollowsError, LogError, TridentError
from trident.generation.generation import find_generation
from trident.generation.state import ServerRecord, ServingFolder, now
from trident.journal.folder import LiveFolder
from trident.journal.leader import Leader
from trident.search.catalogue_service import CatalogueService, status_of
from trident.server.live_serving import prepare_following, say_who_leads
from trident.server.serving import ServeOptions


def serving_of(generations: Path, port: int) -> ServingFolder:
    """Return the state of a server that is ready."""
    folder = ServingFolder.of(generations, port)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_state(find_generation(generations).id, None)
    record = ServerRecord(
        http=f"h:{port}",
        grpc=f"h:{port + 1}",
        metrics="",
        variant="cpu",
        plans="",
        cache=False,
        supervisor_pid=1,
        tritonserver_pid=1,
        started_at=now(),
    )
    folder.write_server(record)
    return folder


def ask(service: CatalogueService, action: str, *operations: dict[str, Any]) -> Any:
    came, answers = threading.Event(), []

    def answer(what: bytes | TridentError) -> None:
        answers.append(json.loads(what) if isinstance(what, bytes) else what)
        came.set()

    key = json.dumps({"trident-write-key": service.folder.key()})
    sent = np.array([json.dumps(operations).encode()], dtype=np.object_) if operations else None
    service.take(np.array([action.encode()], dtype=np.object_), sent, key, answer)
    assert came.wait(60)
    return answers[0]


def test_a_server_that_follows_takes_over_when_told_and_the_lock_is_free(generations):
    folder, leading, following = (
        LiveFolder.of(generations),
        serving_of(generations, 8000),
        serving_of(generations, 9000),
    )
    leader = CatalogueService(folder, generations, leading)
    say_who_leads(generations, leading)
    follower = CatalogueService(folder, generations, following, follows=True)
    upsert = {"op": "upsert", "id": "new", "title": "a kettle"}
    assert ask(leader, "write", upsert)["number"] == 1
    refusal = ask(follower, "write", upsert)
    words = "nothing was written: this server follows h:8001: write there, or have this one take over"
    assert isinstance(refusal, FollowsError)
    assert str(refusal).startswith(words)
    assert status_of(refusal) == ("UNAVAILABLE", f"FOLLOWS: {refusal}")
    stats = ask(follower, "stats")
    assert (stats["number"], stats["follows"], stats["attributes"]) == (1, "h:8001", {})
    refusal = ask(follower, "take-over")
    assert isinstance(refusal, FollowsError)
    assert str(refusal) == "h:8001 still writes: stop it, then take over"
    leader.close()
    assert ask(follower, "take-over")["number"] == 1
    assert ask(follower, "write", {"op": "delete", "id": "new"})["number"] == 2
    assert ask(follower, "take-over")["number"] == 2, "once more does nothing"
    found = Leader.read(folder.path)
    assert found is not None
    assert found.is_at(following)
    with pytest.raises(LogError, match=r"another server writes to .*: stop it, follow it with --follow"):
        CatalogueService(folder, generations, leading)
    follower.close()
    again = CatalogueService(folder, generations, following, follows=True)
    assert again.writer is not None, "it took over before it was started again"
    again.close()


def test_there_must_be_something_to_follow(tmp_path, generations):
    with pytest.raises(LogError, match=r"has no log to follow: start trident serve --live over it first"):
        prepare_following(tmp_path / "elsewhere", find_generation(generations), report=lambda _: None)
    with pytest.raises(ConfigError, match=r"--follow needs --live"):
        ServeOptions(follow=True)
    said: list[str] = []
    prepare_following(generations, find_generation(generations), report=said.append)
    assert said == ["following another server at number 0: 144 products, 0 of them in the tail"]

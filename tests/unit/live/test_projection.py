"""The log in a store, over a real generation: who reads there sees what was answered, and nothing is lost or undone."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.cluster.connection import Connection
from trident.cluster.filling import load_generation, overview
from trident.cluster.loaded import remove_collections, require_loaded
from trident.errors import AwayError, LogError, StoreAwayError, StoreError, TridentError, UnknownOutcomeError
from trident.generation.generation import Generation, find_generation
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.live import projection
from trident.live.base import embedder
from trident.live.preparing import recover
from trident.live.projection import Projection, project
from trident.live.writer import Writer, Written
from trident.retrieval.opened import open_retriever
from trident.retrieval.options import SearchOptions, read_page
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Retriever
from trident.search.adapters import reason_of
from trident.search.answering import Asked, answer_each
from trident.search.catalogue_service import status_of
from trident.search.searcher import Searcher

Embed = Callable[[list[str]], np.ndarray]


@pytest.fixture
def stored(generations: Path, stand_in: Any) -> Iterator[Path]:
    """Return the folder of a generation whose products are in the stand-in, all of them."""
    generation = stand_in.takes(find_generation(generations))
    with pytest.raises(StoreError, match=r"must have the 144 products of generation \w+, got 0: trident cluster load"):
        require_loaded(generation)
    load_generation(generation)
    require_loaded(generation)
    yield generations
    remove_collections([generation])


@pytest.fixture
def embed(generation: Generation) -> Embed:
    return embedder(generation)


@pytest.fixture
def writer(stored: Path) -> Iterator[Writer]:
    made = begin(stored)
    yield made
    made.close()


@pytest.fixture
def reader(stored: Path) -> Iterator[Retriever]:
    """Return what a second server has: it knows no log."""
    made = open_retriever(find_generation(stored).version_folder("retriever"))
    yield made
    made.close()


def begin(folder: Path) -> Writer:
    return Writer(LiveFolder.of(folder), folder, ServingFolder.of(folder, 8000))


def send(writer: Writer, *rows: dict[str, Any]) -> Written | TridentError:
    came, what = threading.Event(), []
    writer.submit(json.dumps(rows), lambda answer: (what.append(answer), came.set()))
    assert came.wait(60)
    return what[0]


def found(reader: Retriever, embed: Embed, title: str, **options: Any) -> tuple[list[str], dict[str, Any]]:
    page = read_page(SearchOptions(**options), reader.attributes) if options else None
    hits = reader.retrieve(embed([title]), [SearchKnobs(k=3, page=page)])
    ids = [each.decode() for each in hits.product_ids[0, : hits.counts[0, 0]]]
    return ids, json.loads(hits.details[0, 0])


def test_a_reader_sees_what_was_answered(writer: Writer, reader: Retriever, embed: Embed) -> None:
    assert found(reader, embed, "nothing came yet")[1] == {"sequence": 0}
    upsert = {"op": "upsert", "id": "new", "title": "alba rake ivory", "attributes": {"price": 7.5, "brand": "cindra"}}
    assert send(writer, upsert) == Written(1, ["done"])
    ids, details = found(reader, embed, "alba rake ivory", filter={"brand": "cindra"}, fields=["price", "colours"])
    assert ids == ["new"]
    assert details == {"sequence": 1, "way": "cluster", "attributes": [{"price": 7.5, "colours": None}]}
    update = {"op": "update", "id": "new", "attributes": {"brand": None, "colours": ["red"]}}
    assert send(writer, update, {"op": "delete", "id": "0000"}) == Written(3, ["done", "done"])
    assert found(reader, embed, "alba rake ivory", filter={"brand": "cindra"})[0] == []
    assert found(reader, embed, "alba rake ivory", filter={"brand": {"missing": True}, "colours": "red"})[0][0] == "new"
    assert "0000" not in found(reader, embed, "Alba kettle red")[0]
    back = {"op": "upsert", "id": "0000", "title": "Alba kettle red", "version": 5}
    assert send(writer, back) == Written(4, ["done"])
    assert found(reader, embed, "Alba kettle red")[0][0] == "0000"
    assert send(writer, {**back, "title": "late", "version": 4}) == Written(4, ["stale"])
    renamed = {"op": "upsert", "id": "0000", "title": "bruno novel navy"}
    assert send(writer, renamed) == Written(5, ["done"])
    assert send(writer, {**renamed, "title": "Alba kettle red"}) == Written(6, ["done"])  # the generation's title again
    hits = reader.retrieve(embed(["Alba kettle red"]), [SearchKnobs(k=1)])
    assert hits.product_ids[0, 0] == b"0000"
    assert hits.scores[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert reader.retrieve(embed(["Alba kettle red"]), [SearchKnobs(k=1)], of_base=[True]).details[0, 0] == b"{}"


def test_many_writes_are_seen_by_a_second_reader(writer: Writer, reader: Retriever, embed: Embed) -> None:
    draw, truth = random.Random(5), {}
    for number in range(40):  # the long form is in tests/triton
        product = f"n{draw.randrange(12)}"
        if draw.random() < 0.3 and product in truth:
            send(writer, {"op": "delete", "id": product})
            del truth[product]
        else:
            attributes = {"price": 1000.0 + number}
            send(writer, {"op": "upsert", "id": product, "title": f"cindra sofa {number}", "attributes": attributes})
            truth[product] = number
        page = read_page(SearchOptions(filter={"price": {"gte": 1000}}, fields=["price"]), reader.attributes)
        hits = reader.retrieve(embed(["cindra sofa"]), [SearchKnobs(k=50, page=page)])
        ids = [each.decode() for each in hits.product_ids[0, : hits.counts[0, 0]]]
        prices = [each["price"] - 1000 for each in json.loads(hits.details[0, 0])["attributes"]]
        assert dict(zip(ids, prices, strict=True)) == truth


def test_while_the_engine_is_away_nothing_is_written(
    writer: Writer, reader: Retriever, embed: Embed, stand_in: Any
) -> None:
    stand_in.kill()
    refused = send(writer, {"op": "delete", "id": "0001"})
    assert isinstance(refused, AwayError)
    status, text = status_of(refused)
    assert status == "UNAVAILABLE"
    assert text.startswith("UNAVAILABLE: nothing was written: the store http://127.0.0.1:")
    assert writer.log.last == 0
    with pytest.raises(StoreAwayError, match="is away: products of trident-"):
        found(reader, embed, "Alba kettle red")
    parts = Searcher.load(find_generation(writer._generations))
    asked = [Asked([("alba rake", "query")], [SearchKnobs()]) for _ in range(3)]
    answers = answer_each(Searcher(parts.tokenizer, parts.encoder, reader), asked, lambda *_: None)
    assert {id(answer) for answer in answers} == {id(answers[0])}  # nobody waits for it a second time
    assert isinstance(answers[0], StoreAwayError)
    assert reason_of(answers[0]) == "away"
    with pytest.raises(StoreAwayError, match="is away"):
        remove_collections([find_generation(writer._generations)])
    assert [row["state"][:8] for row in overview(writer._generations)] == ["unknown:"]
    stand_in.start()
    assert send(writer, {"op": "delete", "id": "0001"}) == Written(1, ["done"])
    assert "0001" not in found(reader, embed, "Alba kettle blue")[0]


def test_a_writer_that_cannot_reach_the_engine_leaves_no_files_open(stored: Path, stand_in: Any) -> None:
    """Each write after a promotion tries to go over to it again."""
    stand_in.kill()
    try:
        opened = []
        for _ in range(6):
            with pytest.raises(StoreAwayError, match="is away: its version was not answered"):
                begin(stored)
            gc.collect()
            opened.append(len(list(Path("/proc/self/fd").iterdir())))
        assert opened[-1] <= opened[0]
    finally:
        stand_in.start()


def test_what_the_engine_did_not_confirm_is_there_when_it_is_back(
    writer: Writer, reader: Retriever, embed: Embed, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    require = Projection.require

    def then_killed(own: Projection, number: int) -> None:
        require(own, number)
        stand_in.kill()

    with monkeypatch.context() as patched:
        patched.setattr(Projection, "require", then_killed)
        answer = send(writer, {"op": "upsert", "id": "new", "title": "alba rake ivory"})
    assert isinstance(answer, UnknownOutcomeError)
    assert "operations up to number 1 are in the log, and the store has not said that it has them" in str(answer)
    assert writer.log.last == 1
    stand_in.start()
    assert send(writer, {"op": "delete", "id": "0001"}) == Written(2, ["done"])
    ids, details = found(reader, embed, "alba rake ivory")
    assert (ids[0], details) == ("new", {"sequence": 2})


@pytest.mark.parametrize("point", range(10))
def test_killed_at_any_point_a_restart_has_what_the_log_has(
    stored: Path, stand_in: Any, embed: Embed, point: int
) -> None:
    rows = [{"op": "upsert", "id": f"n{row}", "title": f"cindra sofa {row}"} for row in range(8)]
    child = os.fork()
    if child == 0:
        calls, upsert = 0, Connection.ask

        def counted(connection: Connection, what: str, call: Any) -> Any:
            nonlocal calls
            if what.startswith("writing"):
                calls += 1
            if calls > point // 2:
                if point % 2:  # after the engine took it, or before
                    upsert(connection, what, call)
                os.kill(os.getpid(), signal.SIGKILL)
            return upsert(connection, what, call)

        writer = begin(stored)
        Connection.ask = counted  # type: ignore[method-assign]
        for row in rows:
            send(writer, row)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    folder, generation = LiveFolder.of(stored), find_generation(stored)
    last = recover(folder)
    assert last >= 1
    assert project(folder, generation, report=lambda _: None) == last
    reader = open_retriever(generation.version_folder("retriever"))
    for number in range(8):
        ids, details = found(reader, embed, f"cindra sofa {number}")
        assert (f"n{number}" in ids) == (number < last)
        assert details == {"sequence": last}
    reader.close()


# Of an engine that is killed: it takes seconds to start again, so that the others are of make test-slow.
POINTS = [pytest.param(point, marks=() if point in (2, 7) else pytest.mark.slow) for point in range(10)]


class Killing:
    """Counts what is written into the engine, and kills somebody at some point: before the engine took it, or after.

    Args:
        point: Half of it is how many writes come before, odd ones are killed behind what the engine took.
        kill: Kills.
    """

    def __init__(self, point: int, kill: Callable[[], None]) -> None:
        self.left, self.is_after, self.kill = point // 2, point % 2 == 1, kill
        self.ask = Connection.ask

    def __enter__(self) -> None:
        def counted(connection: Connection, what: str, call: Any) -> Any:
            if not what.startswith("writing"):
                return self.ask(connection, what, call)
            self.left -= 1
            if self.left == -1 and not self.is_after:
                self.kill()
            answer = self.ask(connection, what, call)
            if self.left == -1 and self.is_after:
                self.kill()
            return answer

        Connection.ask = counted  # type: ignore[method-assign, assignment]

    def __exit__(self, *_: object) -> None:
        Connection.ask = self.ask  # type: ignore[method-assign]


@pytest.mark.parametrize("point", POINTS)
def test_an_engine_that_is_killed_at_any_point_of_writing_has_what_the_log_has(
    writer: Writer, reader: Retriever, embed: Embed, stand_in: Any, point: int
) -> None:
    with Killing(point, stand_in.kill):
        answers = [send(writer, {"op": "upsert", "id": f"n{row}", "title": f"cindra sofa {row}"}) for row in range(8)]
    assert any(isinstance(answer, TridentError) for answer in answers)
    assert all(isinstance(answer, Written | AwayError | UnknownOutcomeError) for answer in answers)
    stand_in.start()
    assert send(writer, {"op": "delete", "id": "0001"}) == Written(writer.log.last, ["done"])
    for number, answer in enumerate(answers):
        ids, details = found(reader, embed, f"cindra sofa {number}")
        assert (f"n{number}" in ids) == (not isinstance(answer, AwayError))
        assert details == {"sequence": writer.log.last}


@pytest.mark.parametrize("victim", ["promotion", "engine"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_of_a_promotion_the_next_one_has_what_the_log_has(
    stored: Path, embed: Embed, stand_in: Any, monkeypatch: pytest.MonkeyPatch, point: int, victim: str
) -> None:
    """What a promotion does to a store: it writes the log into a collection that lacks it."""
    folder, generation, rows = LiveFolder.of(stored), find_generation(stored), range(8)
    writer = begin(stored)
    for row in rows:
        send(writer, {"op": "upsert", "id": f"n{row}", "title": f"cindra sofa {row}"})
    send(writer, {"op": "delete", "id": "n3"})
    last = writer.log.last
    writer.close()
    load_generation(generation, again=True)  # as it is exported
    monkeypatch.setattr(projection, "STEP", 2)
    if victim == "engine":
        with Killing(point, stand_in.kill), pytest.raises(StoreAwayError, match="is away"):
            project(folder, generation, report=lambda _: None)
        stand_in.start()
    else:
        child = os.fork()
        if child == 0:
            with Killing(point, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                project(folder, generation, report=lambda _: None)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert project(folder, generation, report=lambda _: None) == last
    reader = open_retriever(generation.version_folder("retriever"))
    for row in rows:
        ids, details = found(reader, embed, f"cindra sofa {row}")
        assert (f"n{row}" in ids) == (row != 3)
        assert details == {"sequence": last}
    reader.close()


def test_an_emptied_collection_is_an_error_and_no_empty_answer(reader: Retriever, stored: Path, embed: Embed) -> None:
    generation = find_generation(stored)
    remove_collections([generation])
    with pytest.raises(StoreError, match="does not have what was asked for products of trident-"):
        found(reader, embed, "Alba kettle red")
    with pytest.raises(StoreError, match=r"must have the 144 products of generation \w+, got 0: trident cluster load"):
        require_loaded(generation)
    load_generation(generation)
    assert found(reader, embed, "Alba kettle red")[0][0] == "0000"
    (row,) = [row for row in overview(stored) if row["generation"] == generation.id]  # other tests' may be there
    assert (row["state"], row["loaded"], row["number"]) == ("complete", 144, 0)
    load_generation(generation, again=True)


def test_a_collection_of_another_log_is_refused(stored: Path, writer: Writer, tmp_path: Path) -> None:
    assert send(writer, {"op": "delete", "id": "0001"}) == Written(1, ["done"])
    writer.close()
    log = LiveFolder.of(stored).path
    log.rename(tmp_path / "lost")
    recover(LiveFolder.of(stored))
    with pytest.raises(LogError, match=r"is not of the log .* and this is log .*; trident cluster load --again$"):
        project(LiveFolder.of(stored), find_generation(stored), report=lambda _: None)
    load_generation(find_generation(stored), again=True)
    assert project(LiveFolder.of(stored), find_generation(stored), report=lambda _: None) == 0

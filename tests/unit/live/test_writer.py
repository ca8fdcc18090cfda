"""The writer over a real generation: groups, order, restarts, refusals; and an export that says how far it goes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trident.attributes.schema import Field, Schema
from trident.errors import DataError, FullError, LogError, StoppedError, TridentError
from trident.generation.generation import find_generation
from trident.generation.state import ServerRecord, ServingFolder, now
from trident.journal.folder import LiveFolder
from trident.live import writer as writer_module
from trident.live.base import CatalogueBase
from trident.live.known import load_known
from trident.live.operations import Product, Tombstone, read_operations
from trident.live.preparing import read_state, recover, replay
from trident.live.writer import Request, Writer, Written
from trident.probe.control import ModelControl
from trident.probe.running import RunningServer
from trident.promotion.switching import _brought_up
from trident.retrieval.live_retriever import live_retriever
from trident.retrieval.options import SearchOptions, read_page
from trident.retrieval.requests import SearchKnobs
from trident.search.catalogue_service import CatalogueService, WriteKeyError, status_of
from trident.search.searcher import Searcher
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation


def begin(generations: Path) -> Writer:
    return Writer(LiveFolder.of(generations), generations, ServingFolder.of(generations, 8000))


@pytest.fixture
def writer(generations: Path) -> Iterator[Writer]:
    made = begin(generations)
    yield made
    made.close()


class Answer:
    """What was answered, and in which turn."""

    turns = 0

    def __init__(self) -> None:
        self.came, self.turn = threading.Event(), 0
        self.what: Any = None

    def __call__(self, what: Written | TridentError) -> None:
        Answer.turns += 1
        self.what, self.turn = what, Answer.turns
        self.came.set()

    def wait(self) -> Any:
        assert self.came.wait(60)
        return self.what


def send(writer: Writer, *rows: dict[str, Any]) -> Answer:
    answer = Answer()
    writer.submit(json.dumps(rows), answer)
    return answer


def upserts(count: int, name: str = "n") -> list[dict[str, Any]]:
    return [{"op": "upsert", "id": f"{name}{row}", "title": f"alba sofa {name} {row}"} for row in range(count)]


def test_what_was_answered_is_there_after_a_restart(writer, generations, generation):
    assert send(writer, *upserts(3)).wait() == Written(3, ["done"] * 3)
    assert send(writer, {"op": "delete", "id": "n1"}, {"op": "delete", "id": "nowhere"}).wait() == Written(
        4, ["done", "unknown"]
    )
    assert send(writer, {"op": "update", "id": "0003", "attributes": {"price": 2}}).wait().number == 5
    writer.close()
    assert recover(LiveFolder.of(generations)) == 5
    state, ids = read_state(generations, generation.id)
    assert {"n0", "n1", "n2", "0003"} <= set(ids)
    deleted = state.find("n1")
    assert isinstance(deleted, Tombstone)
    assert (deleted.number, deleted.at is not None) == (4, True)
    found = state.find("0003")
    assert isinstance(found, Product)
    assert (found.attributes, found.number) == ({"price": 2, "brand": "alba"}, 5)
    snapshot = replay(LiveFolder.of(generations), find_generation(generations), report=lambda _: None)
    assert snapshot.count == 144 + 2
    again = begin(generations)
    assert send(again, {"op": "upsert", "id": "n1", "title": "back"}).wait() == Written(6, ["done"])
    again.close()


def test_a_replay_says_how_many_titles_it_embeds_and_how_long_that_takes(writer, generations, generation):
    send(writer, *upserts(100)).wait()
    send(writer, {"op": "delete", "id": "n1"}).wait()
    writer.close()
    folder, said = LiveFolder.of(generations), list[str]()
    replay(folder, find_generation(generations), report=said.append)
    assert said == [f"replaying 101 operations over generation {generation.id} (1 to 101)"]  # the vectors are there
    for path in (folder.path / "vectors").iterdir():
        path.unlink()
    said.clear()
    assert replay(folder, find_generation(generations), report=said.append).tail_rows == 99
    assert said[1] == "99 titles to embed"
    assert re.fullmatch(r"embedded 64 of 99 titles, about \d+ s left", said[2])
    assert len(said) == 3


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"prise": 2}, r"product '0003': the catalogue has no field 'prise' \(did you mean 'price'\?\)"),
        ({"price": "2"}, r"product '0003': price is a number and takes a number, got \"2\""),
        ({"colours": "red"}, r"product '0003': colours is a list and takes a list of texts, got \"red\""),
    ],
)
def test_an_attribute_that_the_generation_does_not_have_is_refused(writer, attributes, words):
    with pytest.raises(DataError, match=words):
        send(writer, {"op": "update", "id": "0003", "attributes": attributes})
    assert writer.stats()["number"] == 0
    assert writer.stats()["attributes"] == {"price": "number", "brand": "keyword", "colours": "list"}


def test_what_was_checked_before_a_promotion_is_checked_again_after_it(writer, generation):
    writer._now = replace(writer._now, base=CatalogueBase.of(generation))  # without attributes
    request = Request([], lambda _: None, Schema(fields=(Field(name="price", type="number"),)))
    request.operations = read_operations('[{"op":"update","id":"0003","attributes":{"price":2}}]', request.schema)
    with pytest.raises(DataError, match=r"update of '0003' after a promotion: the catalogue has no field 'price'"):
        writer._check_again([(request, request.operations)])


def test_a_log_that_does_not_fit_a_generations_attributes_is_refused_before_it_serves(writer, generations, generation):
    send(writer, {"op": "update", "id": "0003", "attributes": {"price": 2}}).wait()
    words = r"the log does not fit the attributes of generation \w+: operation 1 on '0003': the catalogue has no field"
    with pytest.raises(LogError, match=words):
        replay(LiveFolder.of(generations), generation, report=lambda _: None)


def test_what_is_written_while_a_candidate_is_loaded_must_fit_it_too(writer, generations, generation):
    """It is written over the attributes of what serves; else the candidate would serve, and could not be started."""
    send(writer, *upserts(1)).wait()
    urls = {"http": "h:1", "grpc": "h:2", "metrics": "", "variant": "cpu", "plans": "", "started_at": now()}
    record = ServerRecord(**urls, cache=False, live=True, supervisor_pid=1, tritonserver_pid=1)
    folder, control = ServingFolder.of(generations, 8000), ModelControl(url="h:1", key="")
    running = RunningServer(generations=generations, folder=folder, record=record, control=control)
    with _brought_up(running, generation) as make_the_rest:
        make_the_rest()
        send(writer, {"op": "update", "id": "0003", "attributes": {"price": 2}}).wait()
        words = r"the log does not fit the attributes of generation \w+: operation 2 on '0003': the catalogue has no"
        with pytest.raises(LogError, match=words):
            make_the_rest()


def test_a_search_sees_what_was_written_and_its_attributes(writer, generations, monkeypatch):
    monkeypatch.setenv("TRIDENT_LIVE", str(generations))
    searcher = Searcher.load(find_generation(generations))
    live = live_retriever(searcher.retriever, lambda titles: searcher.embed(titles, "product"))
    try:
        found = live.retrieve(searcher.embed(["alba sofa"]), [SearchKnobs(k=3)])
        assert found.details.tolist() == [[b'{"sequence":0}']]
        assert found.product_ids.tolist() == searcher.search(["alba sofa"], [SearchKnobs(k=3)]).product_ids.tolist()
        send(writer, {"op": "delete", "id": found.product_ids[0, 0].decode()}, *upserts(2)).wait()
        again = live.retrieve(searcher.embed(["alba sofa"]), [SearchKnobs(k=200)])
        assert found.product_ids[0, 0] not in again.product_ids
        assert {b"n0", b"n1"} <= set(again.product_ids[0].tolist())
        assert again.counts[0, 0] == 145
        options = SearchOptions(filter={"price": {"lt": 5}, "brand": "new"}, fields=["price"], sort="-price")
        send(writer, {"op": "update", "id": "n1", "attributes": {"price": 4, "brand": "new"}}).wait()
        send(writer, {"op": "update", "id": "0003", "attributes": {"price": 3.5, "brand": "new"}}).wait()
        page = live.retrieve(searcher.embed(["alba sofa"]), [SearchKnobs(page=read_page(options, live.attributes))])
        assert page.product_ids[0, :2].tolist() == [b"n1", b"0003"]
        assert json.loads(page.details[0, 0])["attributes"] == [{"price": 4}, {"price": 3.5}]
        assert json.loads(page.details[0, 0])["sequence"] == 5
    finally:
        live.close()


def test_a_small_request_goes_before_a_large_one(writer):
    large = send(writer, *upserts(400))
    small = send(writer, *upserts(1, "small"))
    assert small.wait().outcomes == ["done"]
    assert large.wait().outcomes == ["done"] * 400
    assert small.turn < large.turn
    assert large.what.number == 401


def test_a_queue_that_is_full_refuses(writer, monkeypatch):
    monkeypatch.setattr(writer_module, "QUEUED", 2)
    with pytest.raises(FullError, match=r"nothing was written: 0 operations wait already"):
        send(writer, *upserts(3))


def test_a_full_tail_refuses_whoever_brings_a_title_and_nobody_beside_it(writer):
    """They come in one group; the log is asked after the tail, so that what is refused left nothing behind."""
    send(writer, *upserts(1)).wait()
    writer._now.vectors.capacity = writer._now.vectors.used
    with writer._condition:  # until then the writer takes none of them
        first = send(writer, {"op": "update", "id": "0003", "attributes": {"price": 2}})
        new = send(writer, {"op": "update", "id": "0004", "attributes": {"price": 9}}, *upserts(1, "new"))
        last = send(writer, {"op": "update", "id": "0003", "attributes": {"price": 3}}, {"op": "delete", "id": "n0"})
    assert first.wait() == Written(2, ["done"])
    assert isinstance(new.wait(), FullError)
    assert str(new.what).startswith("nothing was written: the tail has 1 vectors and takes 1: run trident catalogue")
    assert last.wait() == Written(4, ["done", "done"])
    assert writer.counts["failed"] == 2
    assert writer._now.state.find("0003").attributes["price"] == 3
    assert writer._now.state.find("new0") is None
    assert "0004" not in writer._now.state.changes


def test_writes_that_a_promotion_holds_off_for_too_long_are_refused(writer, generations, monkeypatch):
    monkeypatch.setattr(writer_module, "HOLD_WAIT_S", 0.05)
    with LiveFolder.of(generations).held(shared=False, wait_s=1):
        assert isinstance(send(writer, *upserts(1)).wait(), StoppedError)
    assert send(writer, *upserts(1)).wait() == Written(1, ["done"])


def test_whoever_waits_when_the_server_stops_is_told(generations):
    writer = begin(generations)
    answers = [send(writer, *upserts(300, name)) for name in ("a", "b", "c")]
    writer.close()
    outcomes = [answer.wait() for answer in answers]
    assert isinstance(outcomes[-1], StoppedError)
    assert "the server stops" in str(outcomes[-1])


def text(value: str) -> np.ndarray[Any, Any]:
    return np.array([value.encode()], dtype=np.object_)


def test_the_service_refuses_what_has_no_key_or_no_sense(generations):
    folder = LiveFolder.of(generations)
    service = CatalogueService(folder, generations, ServingFolder.of(generations, 8000))
    key = json.dumps({"Trident-Write-Key": folder.key()})
    answers: list[Any] = []
    try:
        for action, operations, parameters in (
            (text("stats"), None, ""),
            (text("stats"), None, json.dumps({"trident-write-key": "wrong"})),
            (text("wriet"), None, key),
            (None, None, key),
            (text("write"), None, key),
            (text("write"), np.array([b"\xff"], dtype=np.object_), key),
            (text("write"), text(" " * 10_000_001), key),
            (text("stats"), None, key),
        ):
            service.take(action, operations, parameters, answers.append)
    finally:
        service.close()
    assert [type(answer) for answer in answers[:7]] == [WriteKeyError] * 2 + [DataError] * 5
    words = ["got none: send it", "got another", "did you mean 'write'", "got none", "got none", "UTF-8", "10,000,001"]
    assert [word in str(answer) for word, answer in zip(words, answers, strict=False)] == [True] * 7
    assert status_of(answers[0])[1].startswith("PERMISSION_DENIED: ")
    assert json.loads(answers[7])["number"] == 0


def test_an_export_beside_a_log_goes_as_far_as_it_says(writer, generations, generation, tiny_run, tiny_data):
    catalogue = tiny_data / "products.csv"
    send(writer, *upserts(2), {"op": "upsert", "id": "versioned", "title": "alba lamp", "version": 7}).wait()
    send(writer, {"op": "delete", "id": "versioned"}).wait()
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    with pytest.raises(LogError, match=r"goes to number 4: say with --holds N"):
        export_generation(ExportOrder(tiny_run, catalogue, generations, config))
    order = ExportOrder(tiny_run, catalogue, generations, config, holds=4, force="the same again")
    made = export_generation(order)
    assert made.id != generation.id, "the same catalogue at another number"
    assert made.holds == writer.log.lineage.position(4)
    assert load_known(made).products["versioned"].version == 7
    deleted = CatalogueBase.of(made).find("versioned")
    assert deleted == Tombstone(version=7, number=4, at=deleted.at)
    assert LiveFolder.of(generations).start_of(made.holds, made.id) == 4
    ServingFolder.of(generations, 8000).write_state(made.id, generation.id)
    late = {"op": "upsert", "id": "versioned", "title": "late", "version": 6}
    assert send(writer, late).wait() == Written(4, ["stale"])
    assert find_generation(generations).id == made.id

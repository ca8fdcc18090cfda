"""Loading goes on where it was killed, proves what is there, and refuses what it is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trident.cluster import loading
from trident.cluster.asking import Wanted, in_order
from trident.cluster.collection import Collection, StoredState
from trident.cluster.connection import Connection
from trident.cluster.loading import ProductFiles, Sample, load, load_golden, sample_recall
from trident.cluster.points import StoredProduct, gone_point, point_of
from trident.errors import StoreAwayError, StoreError

START = StoredState(generation="0123456789abcdef", number=7)


def ended_in_child(work: Callable[[], None]) -> int:
    """Return the signal that ended a fork of this process which did some work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def test_a_generation_is_loaded_once_and_proven(collection: Collection, files: ProductFiles) -> None:
    counted: list[int] = []
    found = load(collection, files, START, batch=40, progress=counted.append)
    assert found == Sample(plain=1.0, filtered=dict.fromkeys(found.filtered, 1.0) if found else {})
    assert found is not None
    assert len(found.filtered) == 3
    assert found.lowest == 1.0
    assert counted == [0, 40, 40, 10]
    assert collection.state() == replace(START, loaded=90, complete=True)
    assert load(collection, files, START) is None
    assert [hit.row for hit in in_order(collection, Wanted(limit=90))] == list(range(90))


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 8, 9])
def test_killed_at_any_batch_it_goes_on(
    connection: Connection, collection: Collection, files: ProductFiles, calls: int
) -> None:
    seen = 0

    def killed() -> None:
        own = Collection(Connection(connection.store), collection.name, collection.schema, collection.dimension)

        def progress(_: int) -> None:
            nonlocal seen
            seen += 1
            if seen == calls:
                os.kill(os.getpid(), signal.SIGKILL)

        load(own, files, START, batch=11, progress=progress)

    assert ended_in_child(killed) == signal.SIGKILL
    state = collection.state()
    assert state is None or not state.complete
    counted: list[int] = []
    assert load(collection, files, START, batch=11, progress=counted.append) is not None
    assert counted[0] == (calls - 1) * 11
    assert sum(counted) == collection.count() == 90


@pytest.mark.parametrize(
    "requests", [pytest.param(count, marks=() if count in (4, 14) else pytest.mark.slow) for count in range(2, 22, 2)]
)
def test_an_engine_that_ends_at_any_request_loses_nothing(
    collection: Collection, files: ProductFiles, stand_in: Any, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    """Requests of a load in four batches: eight and more make the collection, then each batch has two."""
    asked, ask = 0, Connection.ask

    def counted(connection: Connection, what: str, call: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == requests:
            stand_in.kill()
        return ask(connection, what, call)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "ask", counted)
        with pytest.raises(StoreAwayError, match="is away: "):
            load(collection, files, START, batch=25)
    stand_in.start()
    state = collection.state()
    assert state is None or not state.complete
    assert load(collection, files, START, batch=25) is not None
    assert [hit.row for hit in in_order(collection, Wanted(limit=90))] == list(range(90))


def test_what_is_not_the_generation_is_refused(collection: Collection, files: ProductFiles) -> None:
    collection.create()
    stranger = StoredProduct(id="stranger", title="?", row=3, number=0)
    collection.write([point_of(stranger, files.index.vectors(np.array([0]))[0], collection.keys)], 0)
    with pytest.raises(StoreError, match=r"must hold 90 products, got 91: remove it, and load it again$"):
        load(collection, files, START)
    collection.write([gone_point("stranger", 1, 8)], 1)
    other = replace(files.stored(5, 7), title="another")
    collection.write([point_of(other, files.index.vectors(np.array([5]))[0], collection.keys)], 7)
    for row in range(90):  # whichever is drawn
        changed = replace(files.stored(row, 7), title="another")
        collection.write([point_of(changed, files.index.vectors(np.array([row]))[0], collection.keys)], 7)
    with pytest.raises(StoreError, match=r"must hold product p\d+ as the generation has it, got another: remove it"):
        load(collection, files, START)
    assert collection.state() == replace(START, loaded=90)
    with pytest.raises(StoreError, match=r"must hold generation ffff456789abcdef, got 0123456789abcdef$"):
        load(collection, files, replace(START, generation="ffff456789abcdef"))


def test_recall_below_its_bound_is_refused(
    collection: Collection, files: ProductFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "RECALL", 1.1)  # an exact stand-in finds everything
    with pytest.raises(StoreError, match=r"^recall@10 of .* must be at least 1\.1, got 1\.000 with no filter: raise"):
        load(collection, files, START)
    state = collection.state()
    assert state is not None
    assert not state.complete


def test_recall_of_what_has_other_vectors_is_low(collection: Collection, files: ProductFiles) -> None:
    collection.create()
    for row in range(90):
        vector = files.index.vectors(np.array([(row + 45) % 90]))[0]
        collection.write([point_of(files.stored(row, 7), vector, collection.keys)], 7)
    found = sample_recall(collection, files)
    assert found.lowest < loading.RECALL, found  # under filters: without one the same cosines are there


def test_late_writes_change_nothing(collection: Collection, files: ProductFiles) -> None:
    load(collection, files, START)

    def write(number: int, title: str) -> None:
        product = replace(files.stored(4, number), title=title)
        collection.write([point_of(product, files.index.vectors(np.array([4]))[0], collection.keys)], number)

    def there() -> list[str]:
        return [hit.title for hit in in_order(collection, Wanted(limit=90)) if hit.product == "p4"]

    write(12, "twelve")
    write(11, "eleven")
    assert there() == ["twelve"]
    collection.write([gone_point("p4", 20, 8)], 20)
    write(19, "nineteen")
    assert there() == []
    write(21, "back")
    assert there() == ["back"]
    collection.write_state(replace(START, number=21, complete=True))
    collection.write_state(replace(START, number=20))
    state = collection.state()
    assert state is not None
    assert state.number == 21


def test_golden_answers_have_products_of_their_own(collection: Collection, files: ProductFiles) -> None:
    load_golden(collection, files, np.array([3, 9]), START)
    assert [hit.product for hit in in_order(collection, Wanted(limit=90))] == ["p3", "p9"]
    load_golden(collection, files, np.array([3, 9]), START)
    state = collection.state()
    assert state is not None
    assert (state.complete, state.number) == (True, 7)
    with pytest.raises(StoreError, match=r"must hold 1 products, got 2: remove it, and load again$"):
        load_golden(collection, files, np.array([3]), START)


def test_a_state_of_another_form_is_refused(collection: Collection) -> None:
    collection.create()
    collection.write_state(replace(START, format=9))
    with pytest.raises(StoreError, match=r"must be of format 1, got 9: load the generation again$"):
        collection.state()

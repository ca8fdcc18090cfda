"""What an operation makes of a product: versions, dumps that are older than what came since, deleted products."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trident.live.operations import Entry, Operation, Product, Tombstone
from trident.live.state import State


class Products(dict[str, Entry]):
    forgotten = 0

    def find(self, product: str) -> Entry | None:
        return self.get(product)


def state_of(*operations: Operation) -> tuple[State, list[str]]:
    state, outcomes = State(Products({"base": Product(title="a base", attributes={"price": 1, "brand": "A"})}), 0), []
    for operation in operations:
        decision = state.decide(operation, {})
        outcomes.append(decision.outcome)
        if decision.entry is not None:
            state.apply(state.number + 1, operation.id, replace(decision.entry, number=state.number + 1))
    return state, outcomes


def op(action, product="1", **more):
    title = {"title": "a kettle"} if action == "upsert" else {}
    attributes = {"attributes": {"price": 2}} if action == "update" else {}
    return Operation(**({"action": action, "id": product} | title | attributes | more))


def test_an_update_changes_what_it_names_and_keeps_the_rest():
    state, outcomes = state_of(op("update", "base"), op("update", "base", attributes={"brand": None, "new": True}))
    assert outcomes == ["done", "done"]
    assert state.find("base") == Product(title="a base", attributes={"price": 2, "new": True}, number=2)


@pytest.mark.parametrize("action", ["update", "delete"])
def test_an_unknown_product_is_said_to_be_unknown(action):
    state, outcomes = state_of(op(action, "nowhere"))
    assert outcomes == ["unknown"]
    assert state.number == 0


@pytest.mark.parametrize("action", ["update", "delete"])
def test_a_deleted_product_is_unknown_and_stays_deleted(action):
    state, outcomes = state_of(op("delete", "base"), op(action, "base"))
    assert outcomes == ["done", "unknown"]
    assert state.find("base") == Tombstone(number=1)


def test_a_feed_that_delivers_twice_or_out_of_order_is_stale():
    state, outcomes = state_of(
        op("upsert", version=5), op("upsert", version=4), op("update", version=3), op("delete", version=2)
    )
    assert outcomes == ["done", "stale", "stale", "stale"]
    assert state.find("1") == Product(title="a kettle", attributes={}, version=5, number=1)


def test_the_version_that_the_product_has_is_written_again():
    assert state_of(op("upsert", version=5), op("upsert", version=5))[1] == ["done", "done"]


def test_a_late_upsert_does_not_bring_a_deleted_product_back():
    state, outcomes = state_of(op("upsert", version=5), op("delete", version=6), op("upsert", version=5))
    assert outcomes == ["done", "done", "stale"]
    assert state.find("1") == Tombstone(version=6, number=2)


def test_a_delete_that_comes_before_the_upsert_wins_by_its_version():
    _, outcomes = state_of(op("delete", "new", version=6), op("upsert", "new", version=5))
    assert outcomes == ["done", "stale"]


def test_an_operation_without_a_version_keeps_the_one_that_is_known():
    state, outcomes = state_of(op("upsert", version=5), op("update"), op("delete"), op("upsert", version=4))
    assert outcomes == ["done", "done", "done", "stale"]
    assert state.find("1") == Tombstone(version=5, number=3)


def test_a_dump_leaves_alone_what_was_touched_since_it_was_made():
    state, outcomes = state_of(
        op("upsert"), op("upsert", untouched_after=0), op("delete", untouched_after=0), op("delete", untouched_after=1)
    )
    assert outcomes == ["done", "touched", "touched", "done"]
    assert state.find("1") == Tombstone(number=2)


def test_a_dump_does_not_bring_back_what_was_deleted_since_it_was_made():
    _, outcomes = state_of(op("delete", "base"), op("upsert", "base", untouched_after=0))
    assert outcomes == ["done", "touched"]


def test_operations_of_one_group_see_each_other():
    state, _ = state_of()
    pending = {"1": Product(title="a kettle", attributes={}, version=3, number=1)}
    assert state.decide(op("upsert", version=2), pending).outcome == "stale"
    assert state.decide(op("update"), pending).entry == Product(title="a kettle", attributes={"price": 2}, version=3)
    assert state.decide(op("upsert", untouched_after=0), pending).outcome == "touched"


def test_a_dump_older_than_what_is_forgotten_leaves_alone_what_nobody_knows_of():
    products = Products({"base": Product(title="a base", attributes={}), "known": Tombstone(number=9)})
    products.forgotten = 5
    state = State(products, 10)
    for product, after, outcome in (
        ("base", 4, "touched"),
        ("nowhere", 4, "touched"),
        ("base", 5, "done"),
        ("nowhere", 5, "done"),
        ("known", 8, "touched"),
        ("known", 9, "done"),
    ):
        assert state.decide(op("upsert", product, untouched_after=after), {}).outcome == outcome, (product, after)

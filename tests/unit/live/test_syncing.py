"""A nightly dump makes the catalogue equal to itself, but for what was touched since it was made."""

from __future__ import annotations

import pytest

from trident.attributes.schema import Field, Schema
from trident.errors import DataError
from trident.live.operations import Entry, Product, Tombstone
from trident.live.state import State
from trident.live.syncing import dump_of, operations_to


class Products(dict[str, Entry]):
    forgotten = 0

    def find(self, product: str) -> Entry | None:
        return self.get(product)


def named(title: str, **attributes: object) -> Product:
    return Product(title=title, attributes=dict(attributes))


@pytest.fixture
def state() -> State:
    made = State(Products({name: named(f"title {name}") for name in "abcdefgh"}), 0)
    made.apply(1, "a", Product(title="newer a", attributes={}, number=1))
    made.apply(2, "new", Product(title="new", attributes={}, number=2))
    made.apply(3, "b", Tombstone(number=3))
    return made


def operations(state: State, dump: dict[str, Product], holds: int, largest_loss: float = 1.0):
    return list(operations_to(state, [*"abcdefgh", "new"], dump, holds=holds, largest_loss=largest_loss))


def test_a_dump_older_than_what_came_since_undoes_none_of_it(state):
    dump = {name: named(f"title {name}") for name in "abcdefgh"}
    assert operations(state, dump, 0) == []


def test_a_dump_that_knows_all_makes_the_catalogue_equal_to_it(state):
    dump = {name: named(f"title {name}") for name in "abcdefg"} | {"c": named("title c", price=2)}
    assert operations(state, dump, 3) == [
        {"op": "upsert", "id": "a", "title": "title a", "attributes": {}, "untouched_after": 3},
        {"op": "upsert", "id": "b", "title": "title b", "attributes": {}, "untouched_after": 3},
        {"op": "upsert", "id": "c", "title": "title c", "attributes": {"price": 2}, "untouched_after": 3},
        {"op": "delete", "id": "h", "untouched_after": 3},
        {"op": "delete", "id": "new", "untouched_after": 3},
    ]


def test_half_a_dump_deletes_nothing(state):
    with pytest.raises(
        DataError, match=r"6 of 8 products are not in the dump, more than --max-loss 0.1 of them: nothing"
    ):
        operations(state, {"a": named("newer a"), "c": named("title c")}, 3, 0.1)


def test_what_a_dump_says_is_missing_is_no_difference(state):
    """As lines of JSON say it: else each night wrote the same products again."""
    kinds = {"price": "number", "brand": "keyword", "tags": "list"}
    schema = Schema(fields=tuple(Field(name=name, type=kind) for name, kind in kinds.items()))
    missing = {"price": None, "brand": " ", "tags": []}
    rows = [{"id": name, "title": f"title {name}", "attributes": missing} for name in "cdefgh"]
    rows.append({"id": "a", "title": "newer a", "attributes": {"price": 5, "tags": ["x", "x"]}})
    dump = dump_of(rows, schema)
    assert dump["a"] == named("newer a", price=5.0, tags=["x"])
    assert [row["id"] for row in operations(state, dump, 3)] == ["a", "new"]
    with pytest.raises(DataError, match=r"^product 'c': the catalogue has no field 'prise' \(did you mean 'price'\?\)"):
        dump_of([{"id": "c", "title": "c", "attributes": {"prise": 5}}], schema)
    with pytest.raises(DataError, match=r"^product_id must be text, got 5: its products would all be others$"):
        dump_of([{"id": 5, "title": "c", "attributes": {}}], schema)


@pytest.mark.parametrize("holds", [-1, 4])
def test_a_number_beyond_the_log_is_refused(state, holds):
    with pytest.raises(DataError, match=rf"--holds must be 0 to 3, the catalogue's number, got {holds}"):
        operations(state, {}, holds)

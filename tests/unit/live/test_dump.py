"""A dump of the catalogue is what an export reads."""

from __future__ import annotations

import pytest

from trident.data.catalogue import read_catalogue
from trident.errors import LiveError
from trident.live.dump import write_dump
from trident.live.operations import Product, Tombstone
from trident.live.state import State


class Nothing:
    def find(self, product: str) -> None:
        return None


def test_a_dump_holds_what_is_there_at_its_number(tmp_path):
    state = State(Nothing(), 0)
    state.apply(1, "a", Product(title="größer", attributes={"price": 3}, number=1))
    state.apply(2, "b", Product(title="gone", attributes={}, number=2))
    state.apply(3, "b", Tombstone(number=3))
    assert write_dump(state, ["a", "b", "never"], tmp_path / "dump.jsonl") == 1
    found = read_catalogue(tmp_path / "dump.jsonl", attributes=True)
    assert (found.product_ids, found.titles) == (["a"], ["größer"])
    assert found.attributes["price"].to_pylist() == [3.0]


def test_an_empty_catalogue_and_another_kind_of_file_are_refused(tmp_path):
    with pytest.raises(LiveError, match="the catalogue has no product"):
        write_dump(State(Nothing(), 0), ["a"], tmp_path / "dump.jsonl")
    with pytest.raises(LiveError, match=r"the file of a dump must end in \.jsonl, got .*dump\.csv"):
        write_dump(State(Nothing(), 0), ["a"], tmp_path / "dump.csv")

"""Attributes of what changed: places that are taken over answer as before, also where none of them has a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.columns import ChangedColumns
from trident.attributes.inference import columns_of
from trident.attributes.schema import Field, FieldType, Schema

TYPES: dict[str, FieldType] = {"brand": "keyword", "tags": "list", "new": "boolean", "price": "number"}


@pytest.fixture
def columns(tmp_path: Path) -> ChangedColumns:
    schema = Schema(fields=tuple(Field(name=name, type=kind) for name, kind in TYPES.items()))
    rows = [{"brand": "alba", "tags": ["a"], "new": True, "price": 1.0}, {}]
    write_attributes(tmp_path, columns_of(schema, rows), len(rows))
    made = ChangedColumns(Attributes.load(tmp_path))
    made.reserve(4)
    for place, values in enumerate(({"price": 5.0}, {"brand": "alba", "price": 2.0}, {}, {"price": 3.0})):
        made.set(place, values)
    return made


@pytest.mark.parametrize("name", ["brand", "tags", "new"])
def test_places_that_have_no_value_of_a_field_have_none_of_its_values(columns, name):
    kept = np.array([0, 2, 3])
    taken = columns.take(kept).values_of(name)
    places = np.arange(len(kept))
    assert taken.has([0], places).tolist() == [False] * 3
    assert taken.is_missing(places).all()
    assert np.isnan(taken.keys(places)).all() or name == "tags"


def test_places_that_are_taken_over_go_on_growing(columns):
    taken = columns.take(np.array([0, 2]))
    taken.reserve(4)
    taken.set(2, {"brand": "other"})
    values = taken.values_of("brand")
    assert values.has([values.code("other")], np.arange(3)).tolist() == [False, False, True]
    assert [values.value(place) for place in range(3)] == [None, None, "other"]

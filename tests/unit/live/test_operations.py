"""Operations that are refused say why, and nothing is written of their request."""

from __future__ import annotations

import json

import pytest

from trident.attributes.schema import Field, Schema
from trident.errors import DataError
from trident.live.operations import (
    Product,
    Tombstone,
    decode_record,
    encode_record,
    read_operations,
)

SCHEMA = Schema(fields=(Field(name="price", type="number"), Field(name="brand", type="keyword")))


def read(*rows: object):
    return read_operations(json.dumps(rows), SCHEMA)


def upsert(**more: object) -> dict[str, object]:
    return {"op": "upsert", "id": "1", "title": "a kettle"} | more


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"op": "upsert", "id": "1"}], "product '1': the title of an upsert must be text that is not empty, got null"),
        ([upsert(title="  ")], 'the title of an upsert must be text that is not empty, got "  "'),
        ([upsert(title=7)], "the title of an upsert must be text that is not empty, got 7"),
        ([upsert(title="x" * 9000)], "the title of an upsert must be at most 8,192 bytes, got 9,000"),
        ([upsert(id="")], 'operation 1 of 1: id must be text that is not empty, got ""'),
        ([upsert(id=5)], "operation 1 of 1: id must be text that is not empty, got 5"),
        ([upsert(id="y" * 10_000)], "operation 1 of 1: id must be at most 512 bytes, got 10,000"),
        ([upsert(id="a\0b")], "id must have no zero character"),
        ([upsert(id="\ud800")], "id must be text in Unicode, got a half of a surrogate pair"),
        ([upsert(), upsert()], "each product must come once in a request, got '1' as operation 1 and 2"),
        ([upsert(titel="a")], r"operation 1 of 1 must have keys .*, got 'titel' \(did you mean 'title'\?\)"),
        ([upsert(op="remove")], 'op must be upsert, update, delete, got "remove"'),
        ([upsert(version=-1)], "product '1': version must be a whole number from 0 to 9223372036854775807, got -1"),
        ([upsert(version=1.5)], "version must be a whole number from 0 to 9223372036854775807, got 1.5"),
        ([upsert(version=True)], "version must be a whole number from 0 to 9223372036854775807, got true"),
        ([upsert(attributes={"price": float("nan")})], "price is a number and takes a number, got NaN"),
        ([upsert(attributes={"price": float("inf")})], "price is a number and takes a number, got Infinity"),
        ([upsert(attributes={"price": {"eur": 1}})], "price is a number and takes a number, got "),
        ([upsert(attributes={"prise": 1})], r"the catalogue has no field 'prise' \(did you mean 'price'\?\)"),
        ([upsert(attributes={"brand": 5})], "product '1': brand is a keyword and takes a text, got 5"),
        ([upsert(attributes={"": 1})], "the catalogue has no field ''"),
        (
            [upsert(attributes={"brand": "\ud800"})],
            "attributes must be text in Unicode, got a half of a surrogate pair",
        ),
        ([upsert(attributes=[1])], r"attributes must be an object, got \[1\]"),
        ([upsert(attributes={"text": "x" * 70_000})], "attributes must be at most 65,536 bytes of JSON, got more"),
        ([{"op": "update", "id": "1"}], "product '1': update must have attributes to change, got none"),
        ([{"op": "update", "id": "1", "title": "a", "attributes": {"a": 1}}], "update takes no title: use upsert"),
        ([{"op": "delete", "id": "1", "attributes": {"a": 1}}], "product '1': delete takes no attributes"),
        (["delete"], 'operation 1 of 1 must be an object with op and id, got "delete"'),
        ([], "operations must be a JSON list of at least one, got "),
        (
            [upsert(id=str(n)) for n in range(1001)],
            "a request must have at most 1,000 operations, got 1,001: cut it up",
        ),
    ],
)
def test_bad_operations_are_refused_in_one_line(rows, words):
    with pytest.raises(DataError, match=words) as refused:
        read(*rows)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ['[{"op": "delete", "id"', "null", "{}", "[" * 100_000])
def test_what_is_no_list_of_operations_is_refused(text):
    with pytest.raises(DataError, match="operations must be a JSON list"):
        read_operations(text, SCHEMA)


def test_a_record_gives_the_whole_product_back():
    product = Product(title='a "kettle"\n- größer', attributes={"price": 3.5, "tags": ["a"]}, version=4, number=9)
    record = encode_record("é/1", product)
    assert b"\n" not in record
    assert b"\0" not in record
    assert decode_record(9, record) == ("é/1", product)
    assert decode_record(3, encode_record("x", Tombstone(version=2))) == ("x", Tombstone(version=2, number=3))

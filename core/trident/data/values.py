"""Values of typed files: of the contract as text, as a person writes a number, a date or an id; others as they are.

A whole number has no point and no exponent, whatever the type it was saved in; a missing value is empty, or null.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trident.errors import DataError

UNTYPED = pa.large_binary()  # bytes, and the JSON of objects: no attribute holds them, errors show them
WHOLE = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}  # above, not every whole number is there


class WrittenFloat(float):
    """A number of a JSON file that keeps how it is written there."""

    written: str

    @classmethod
    def of(cls, written: str) -> WrittenFloat:
        """Return the number that is written so."""
        number = cls(written)
        number.written = written
        return number


def text_of(value: Any) -> str:
    """Return one value of a JSON file, or of a nested column, as text; lists and objects stay JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, WrittenFloat):
        return number_text(value.written)
    if isinstance(value, float):
        return number_text(repr(value))
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def number_text(written: str) -> str:
    """Return a number as it is written, but a whole one without a point or an exponent."""
    try:
        return decimal_text(Decimal(written), written)
    except InvalidOperation:  # inf, nan
        return written


def decimal_text(number: Decimal, written: str | None = None) -> str:
    """Return a decimal number without an exponent; a whole one without a point."""
    if not number.is_finite() or number.adjusted() > 400:
        return written or str(number)
    if number == number.to_integral_value():
        return f"{int(number)}"
    return written or f"{number:f}"


def column_text(column: pa.ChunkedArray, name: str, where: object, *, wanted: bool) -> pa.ChunkedArray:
    """Return a column as strings without nulls.

    Args:
        column: Of any type.
        name: Of the contract, or of an attribute.
        where: What errors call the file.
        wanted: The column is one of the contract: lists and objects are refused, and so are ids that lost digits.

    Raises:
        DataError: If the column cannot be text.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if wanted and (pa.types.is_nested(kind) or pa.types.is_duration(kind)):
        raise DataError(f"column '{name}' of {where} is of type {kind}, text or numbers are needed")
    if pa.types.is_floating(kind):
        return _floats(column, name, where, exact=wanted and name == "product_id")
    if pa.types.is_decimal(kind) or pa.types.is_nested(kind):
        return _one_by_one(column)
    if not pa.types.is_string(kind):
        try:
            column = column.cast(pa.string())
        except pa.ArrowException as error:
            if wanted:
                reason = str(error).splitlines()[0]
                raise DataError(
                    f"column '{name}' of {where} is of type {kind}, text or numbers are needed: {reason}"
                ) from error
            return _one_by_one(column)
    if pa.types.is_temporal(kind):  # no fraction of a second where there is none
        column = pc.replace_substring_regex(column, r"\.0+(Z|[+-]\d\d:?\d\d)?$", r"\1")
    return column.fill_null("")


def typed_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as bool, float64, string, a list of strings, or ``UNTYPED`` for what none of these holds.

    Blank texts, NaN and nulls are null. Whole numbers that a float does not hold are text, and so are bytes of UTF-8.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_integer(kind):
        return _exact_floats(column)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float32()).cast(pa.float64()) if kind == pa.float16() else column.cast(pa.float64())
        return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    if pa.types.is_nested(kind):
        return typed(column.to_pylist())
    if kind == UNTYPED:
        return column
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            column = column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:  # no UTF-8
            return column.cast(pa.binary()).cast(UNTYPED)
    text = column_text(column, "", "", wanted=False)
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), pa.scalar(None, pa.string()), text)


def typed(values: list[Any]) -> pa.ChunkedArray:
    """Return values of a JSON file, of whatever types, as a column of a type of ``typed_column``."""
    kinds = {_kind_of(value) for value in values} - {None}
    if not kinds:
        return pa.chunked_array([pa.nulls(len(values), pa.string())])
    if kinds == {"boolean"}:
        return pa.chunked_array([pa.array(values, pa.bool_())])
    if kinds == {"number"}:
        numbers = [None if _kind_of(value) is None else value for value in values]
        if all(number is None or abs(number) <= WHOLE[pa.float64()] or isinstance(number, float) for number in numbers):
            return pa.chunked_array([pa.array(map(_float, numbers), pa.float64())])
    if "other" in kinds:
        texts = [None if _kind_of(value) is None else text_of(value).encode() for value in values]
        return pa.chunked_array([pa.array(texts, UNTYPED)])
    if "list" in kinds:
        return pa.chunked_array([pa.array(map(_texts, values), pa.list_(pa.string()))])
    return strings_or_null([None if _kind_of(value) is None else text_of(value) for value in values])


def _kind_of(value: Any) -> str | None:
    """Return what a value of JSON is; None: missing."""
    match value:
        case bool():
            return "boolean"
        case float() if math.isnan(value):
            return None
        case int() | float() | Decimal():
            return "number"
        case str():
            return "text" if value.strip() else None
        case None:
            return None
        case list():
            return "list" if all(_kind_of(each) not in ("list", "other") for each in value) else "other"
        case _:
            return "text" if hasattr(value, "isoformat") else "other"


def _texts(value: Any) -> list[str] | None:
    if _kind_of(value) is None:
        return None
    return [text_of(each) for each in (value if isinstance(value, list) else [value]) if _kind_of(each) is not None]


def _float(number: Any) -> float | None:
    return None if number is None else float(number)


def _exact_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    largest = pc.max(pc.abs(column.cast(pa.decimal128(38)))).as_py() if len(column) else None
    return column.cast(pa.string() if largest is not None and largest > WHOLE[pa.float64()] else pa.float64())


def strings_or_null(texts: list[str | None]) -> pa.ChunkedArray:
    """As ``strings``, for texts some of which are missing."""
    made = pa.array(texts, pa.string())
    return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])


def strings(texts: list[str]) -> pa.ChunkedArray:
    """Return texts as a column, in several chunks where they are more than 2 GiB."""
    made = pa.array(texts, pa.string())
    return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])


def _floats(column: pa.ChunkedArray, name: str, where: object, *, exact: bool) -> pa.ChunkedArray:
    """Return floats as text: whole ones as integers, which is what ids become where some of them are missing."""
    kind = column.type
    if kind == pa.float16():
        column = column.cast(pa.float32())
    values = column.cast(pa.float64())
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    if exact:
        large = pc.fill_null(pc.greater(pc.abs(values), float(WHOLE[kind])), fill_value=False)
        if pc.any(large).as_py():
            row = pc.index(large, True).as_py()
            raise DataError(
                f"column '{name}' of {where} is of type {kind}, whose digits are lost above {WHOLE[kind]:,}, got "
                f"{values[row].as_py():.0f} in row {row + 1}: save ids as text or as whole numbers"
            )
    small = pc.fill_null(
        pc.and_(pc.less(pc.abs(values), 2.0**63), pc.equal(values, pc.trunc(values))), fill_value=False
    )
    whole = pc.if_else(small, values, 0.0).cast(pa.int64()).cast(pa.string())
    text = pc.fill_null(pc.if_else(small, whole, pc.if_else(pc.is_null(values), "", column.cast(pa.string()))), "")
    if pc.any(pc.match_substring_regex(text, r"e|\.0$")).as_py():
        return strings([number_text(each) for each in text.to_pylist()])
    return text


def _one_by_one(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return strings([text_of(value) for value in column.to_pylist()])

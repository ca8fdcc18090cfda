"""What type each further column of a catalogue is: guessed, or as ``--attribute`` says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trident.attributes.schema import HOLDS, WORDS, FieldType, Schema, shown
from trident.data.tables import GUESSED
from trident.data.values import UNTYPED, column_text, typed
from trident.errors import ConfigError, DataError, nearest

AskedType = Literal["keyword", "number", "boolean", "list", "display", "none"]
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
PLAIN_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"  # 007 and 1. are no numbers unless somebody says so
LARGEST_WHOLE = 2.0**53  # above, a float does not hold every whole number: an id, and no number
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")
SEPARATORS = r"\s*[|;]\s*"  # between the values of a text that is asked to be a list
DISPLAY_VALUES = 100  # a keyword with more values than these, which are
DISPLAY_SHARE = 0.9  # nearly as many as its rows: links, descriptions
BORDERS = (0.2, 0.4, 0.6, 0.8)  # shares of the products below the borders of a facet's ranges


@dataclass(frozen=True)
class TypedColumn:
    """A column whose values are of one type; missing ones are null, and so are empty lists."""

    name: str
    type: FieldType
    values: pa.ChunkedArray  # of string, float64, bool or a list of strings


@dataclass(frozen=True)
class Inferred:
    """The columns that are kept, and why others are not, by name."""

    columns: list[TypedColumn]
    left_out: dict[str, str]


ARROW = {
    "keyword": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "list": pa.list_(pa.string()),
    "display": pa.string(),
}


class UnfitError(Exception):
    """A column is not of a type: its row from 0, and the value there."""

    def __init__(self, row: int, value: Any) -> None:
        """Keep both."""
        super().__init__(row, value)
        self.row, self.value = row, value


def parse_attributes(items: list[str] | None, option: str = "--attribute") -> dict[str, str]:
    """Return the ``NAME=TYPE`` items of an option as a mapping.

    Raises:
        ConfigError: If an item has no ``=``, or a name is given two types; ``check_asked`` refuses unknown ones.
    """
    asked: dict[str, str] = {}
    for item in items or []:
        name, separator, kind = item.rpartition("=")
        if not separator or not name:
            raise ConfigError(f"{option} takes NAME=TYPE, got '{item}'")
        if asked.setdefault(name, kind) != kind:
            raise ConfigError(f"{option} gives a field one type, got '{asked[name]}' and '{kind}' for '{name}'")
    check_asked(asked, option)
    return asked


def check_asked(asked: Mapping[str, str], option: str) -> None:
    """Raise unless every type that is asked for is one.

    Raises:
        ConfigError: Naming option, field and type.
    """
    known = get_args(AskedType)
    for name, kind in asked.items():
        if kind not in known:
            raise ConfigError(
                f"{option}: '{name}' must be one of {', '.join(known)}, got '{kind}'{nearest(kind, known)}"
            )


def require_columns(table: pa.Table, asked: Mapping[str, str], where: object) -> None:
    """Raise unless a catalogue has every column that is asked for.

    Raises:
        DataError: Naming the first that is missing.
    """
    for name in asked:
        if name not in table.column_names:
            hint, there = nearest(name, table.column_names), ", ".join(table.column_names) or "none"
            raise DataError(f"--attribute {name}={asked[name]}: {where} has no such column{hint}, found {there}")


def infer(table: pa.Table, asked: Mapping[str, str], where: object) -> Inferred:
    """Return the columns of a catalogue, each of the type that its values have or that it is asked to have.

    Args:
        table: Of ``trident.data.tables.read_table``, without the columns of the contract.
        asked: From the name of a column to its type; ``none`` leaves it out.
        where: What errors call the file.

    Raises:
        DataError: If a column that is asked for is not there, or a value of it is of another type.
    """
    require_columns(table, asked, where)
    columns: list[TypedColumn] = []
    left_out: dict[str, str] = {}
    for field, values in zip(table.schema, table.columns, strict=True):
        wish = asked.get(field.name)
        try:
            found = typed_column(field, values, wish, where)
        except UnfitError as error:
            left_out[field.name] = f"no type fits {shown(error.value)} in row {error.row + 1}"
            continue
        if isinstance(found, str):
            left_out[field.name] = found
        else:
            columns.append(found)
    return Inferred(columns, left_out)


def columns_of(schema: Schema, products: Sequence[Mapping[str, Any]]) -> Inferred:
    """Return attributes that ``Schema.check`` let pass as columns; what a product lacks is missing.

    Args:
        schema: Of the columns.
        products: The attributes of each, by name.
    """
    columns = []
    for field in schema.fields:
        values = [product.get(field.name) for product in products]
        kept = [None if value in ("", []) else value for value in values]
        columns.append(TypedColumn(field.name, field.type, pa.chunked_array([pa.array(kept, ARROW[field.type])])))
    return Inferred(columns, {})


def typed_column(field: pa.Field, values: pa.ChunkedArray, wish: str | None, where: object) -> TypedColumn | str:
    """Return the column, or why it is left out."""
    name = field.name
    if wish == "none":
        return "as asked"
    if name in WORDS:
        if wish is not None:
            raise DataError(f"--attribute {name}={wish}: '{name}' is a word of the filter language: rename the column")
        return f"'{name}' is a word of the filter language"
    if wish is not None:
        try:
            return TypedColumn(name, wish, CONVERSIONS[wish](values))  # type: ignore[arg-type]
        except UnfitError as error:
            raise DataError(
                f"--attribute {name}={wish} takes {HOLDS[wish]}, got {shown(error.value)} in row {error.row + 1} of "
                f"{where}: mend it, or ask for another type"
            ) from error
    if values.null_count == len(values):
        return "it has no values"
    kind = _guess(values, is_guessed=(field.metadata or {}).get(b"guessed") == GUESSED[b"guessed"])
    return TypedColumn(name, kind, CONVERSIONS[kind](values))


def _guess(values: pa.ChunkedArray, *, is_guessed: bool) -> FieldType:
    kind = values.type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_floating(kind):
        return "number"
    if pa.types.is_list(kind):
        return "list"
    if kind == UNTYPED:
        _unfit(values, _everything(values))
    different = pc.unique(values).drop_null()
    if is_guessed:
        if pc.all(pc.is_in(pc.utf8_lower(different), pa.array(["true", "false"]))).as_py():
            return "boolean"
        if pc.all(pc.match_substring_regex(different, PLAIN_NUMBER)).as_py() and _are_exact(different):
            return "number"
        if pc.all(pc.starts_with(different, "[")).as_py() and _are_lists(different):
            return "list"
    count = len(different)
    is_display = count > DISPLAY_VALUES and count > DISPLAY_SHARE * (len(values) - values.null_count)
    return "display" if is_display else "keyword"


def _are_exact(texts: pa.Array) -> bool:
    numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return bool((np.isfinite(numbers) & (np.abs(numbers) <= LARGEST_WHOLE)).all())


def _are_lists(texts: pa.Array) -> bool:
    try:
        _lists(pa.chunked_array([texts]))
    except UnfitError:
        return False
    return True


def _unfit(values: pa.ChunkedArray, wrong: NDArray[np.bool_]) -> None:
    """Raise for the first row of a column that is wrong and not missing, if there is one."""
    rows = np.flatnonzero(wrong & ~_missing(values))
    if len(rows):
        value = values[int(rows[0])].as_py()
        raise UnfitError(int(rows[0]), value.decode(errors="replace") if isinstance(value, bytes) else value)


def _missing(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(values.is_null().to_numpy(), dtype=bool)


def _everything(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.ones(len(values), dtype=bool)


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(values.type):
        fitting = pc.fill_null(pc.match_substring_regex(values, NUMBER), fill_value=True)
        _unfit(values, ~np.asarray(fitting.to_numpy(), dtype=bool))
        numbers = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"^\+", "").cast(pa.float64())
    elif pa.types.is_floating(values.type):
        numbers = values
    else:
        _unfit(values, _everything(values))
        return values.cast(pa.float64())
    _unfit(values, ~np.isfinite(numbers.to_numpy()))
    return numbers


def _booleans(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(values.type):
        return values
    if pa.types.is_nested(values.type) or values.type == UNTYPED:
        _unfit(values, _everything(values))
    lowered = pc.utf8_lower(pc.utf8_trim_whitespace(column_text(values, "", "", wanted=False)))
    is_true, is_false = (pc.is_in(lowered, pa.array(words)) for words in (TRUE, FALSE))
    _unfit(values, ~np.asarray(pc.or_(is_true, is_false).to_numpy(), dtype=bool))
    return pc.if_else(values.is_null(), pa.scalar(None, pa.bool_()), is_true)


def _keywords(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_nested(values.type) or values.type == UNTYPED:
        _unfit(values, _everything(values))
    text = column_text(values, "", "", wanted=False)
    return pc.if_else(values.is_null(), pa.scalar(None, pa.string()), text)


def _lists(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(values.type):
        return _without_repeats(values)
    if values.type == UNTYPED:
        _unfit(values, _everything(values))
    texts = _keywords(values)
    if not pc.any(pc.starts_with(texts, "[")).as_py():
        return _without_repeats(pc.split_pattern_regex(pc.utf8_trim_whitespace(texts), SEPARATORS))
    parsed: list[Any] = []
    for row, text in enumerate(texts.to_pylist()):
        try:
            value = json.loads(text) if text is not None and text.startswith("[") else text
        except ValueError as error:
            raise UnfitError(row, text) from error
        if isinstance(value, list) and any(isinstance(each, list | dict) for each in value):
            raise UnfitError(row, value)
        parsed.append(None if value is None else value if isinstance(value, list) else [value])
    found = typed(parsed)
    return _without_repeats(found if pa.types.is_list(found.type) else found.cast(pa.list_(pa.string())))


def _without_repeats(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists without blank values and without what they repeat; empty ones are null."""
    if values.null_count == len(values):
        return values.cast(pa.list_(pa.string()))
    made = [
        None if value is None else [*dict.fromkeys(each for each in value if each is not None and each.strip())] or None
        for value in values.to_pylist()
    ]
    return pa.chunked_array([pa.array(made, pa.list_(pa.string()))])


CONVERSIONS: dict[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "keyword": _keywords,
    "number": _numbers,
    "boolean": _booleans,
    "list": _lists,
    "display": _keywords,
}

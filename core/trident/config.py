"""Recipes: TOML files read into frozen dataclasses, with ``--set key=value`` on top.

One program has one frozen keyword-only dataclass (with nested ones for its tables). An unknown key is an error
that names the nearest one; a value of the wrong type is an error that names both types. What was resolved is
written into the artifact, and the next stage reads it from there.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trident.errors import ConfigError, nearest

T = TypeVar("T")


def load_recipe(recipe_class: type[T], recipe_path: Path, overrides: Sequence[str] = ()) -> T:
    """Return the recipe of a TOML file with ``key.subkey=value`` overrides applied.

    Args:
        recipe_class: The frozen dataclass to fill.
        recipe_path: A TOML file.
        overrides: Items such as ``"optimizer.epochs=3"``; values are TOML, a bare word is taken as a string.

    Raises:
        ConfigError: If the file is missing or no TOML, a key is unknown, a value has the wrong type or breaks a rule.
    """
    return from_table(recipe_class, read_recipe_table(recipe_path, overrides), where=f"recipe {recipe_path}")


def read_recipe_table(recipe_path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a TOML file says, and nothing else, with ``key.subkey=value`` overrides applied.

    Raises:
        ConfigError: If the file is missing or no TOML, or an override has no ``=`` or a parent that is no table.
    """
    try:
        table = tomllib.loads(recipe_path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"recipe {recipe_path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"recipe {recipe_path} is not a TOML file: {error}") from error
    for override in overrides:
        apply_override(table, override)
    return table


def from_table(config_class: type[T], table: Mapping[str, Any], *, where: str) -> T:
    """Return ``config_class`` filled from a mapping; nested dataclasses are filled from nested mappings.

    Args:
        config_class: A dataclass.
        table: Keys and values, as ``tomllib`` or ``json`` read them.
        where: The source that errors name, for example ``"recipe demo.toml"``.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type or breaks a rule.
    """
    return typing.cast(T, _build(config_class, table, where=where, prefix=""))


def to_table(config: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types (paths become strings, tuples lists)."""
    return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def apply_override(table: dict[str, Any], override: str) -> None:
    """Set one ``key.subkey=value`` in a table; the value is TOML, a bare word is taken as a string.

    Raises:
        ConfigError: If there is no ``=``, or a parent of the key is no table.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set takes key=value, got '{override}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    node: Any = table
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {key}: '{parent}' is not a table in the recipe")
    node[last] = value


def _build(config_class: Any, table: Any, *, where: str, prefix: str) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"'{prefix.rstrip('.')}' must be a table, got {table!r} ({where})")
    hints = typing.get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.init}
    for key in table:
        if key not in fields:
            hint = nearest(key, fields) or f" (known: {', '.join(fields)})"
            raise ConfigError(f"unknown key '{prefix}{key}'{hint} ({where})")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise ConfigError(f"key '{prefix}{name}' is required ({where})")
    values = {key: _convert(hints[key], value, where=where, key=prefix + key) for key, value in table.items()}
    try:
        return config_class(**values)
    except ConfigError as error:
        raise ConfigError(f"{error} ({where})") from error


def _convert(hint: Any, value: Any, *, where: str, key: str) -> Any:
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where=where, prefix=f"{key}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        for option in options[:-1]:
            try:
                return _convert(option, value, where=where, key=key)
            except ConfigError:  # the value may fit the next member of the union
                continue
        return _convert(options[-1], value, where=where, key=key)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ConfigError(f"'{key}' must be one of {', '.join(map(repr, arguments))}, got {value!r} ({where})")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, where=where, key=key) for item in value)
    if origin is list and isinstance(value, list):
        return [_convert(arguments[0], item, where=where, key=key) for item in value]
    if origin is dict and isinstance(value, Mapping):
        return {
            str(name): _convert(arguments[1], item, where=where, key=f"{key}.{name}") for name, item in value.items()
        }
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"'{key}' must be a number that a float holds, got one too large ({where})") from error
    if isinstance(hint, type) and isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ConfigError(f"'{key}' must be of type {expected}, got {value!r} of type {type(value).__name__} ({where})")

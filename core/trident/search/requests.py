"""Reads a request's tensors and says in one line what is wrong with them; the served models make it a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.encoder.text import Side
from trident.errors import DataError
from trident.search.tensors import K_DEFAULT, KNOBS, QUERY, QUERY_MAX_BYTES, SIDE, TEXT


@dataclass(frozen=True)
class SearchKnobs:
    """How many products a query wants, how hard to look, and what to leave out."""

    k: int = K_DEFAULT
    ef: int | None = None  # None: the index's own
    min_score: float | None = None  # None: everything


def read_texts(values: NDArray[np.object_], name: str = QUERY) -> list[str]:
    """Return the texts of a BYTES tensor.

    Args:
        values: (B, 1) object array of bytes.
        name: The tensor, for errors.

    Raises:
        DataError: If a text is empty, too long or not UTF-8.
    """
    texts = []
    for value in values.reshape(-1):
        if len(value) > QUERY_MAX_BYTES:
            raise DataError(f"{name} must have at most {QUERY_MAX_BYTES:,} bytes, got {len(value):,}")
        try:
            text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise DataError(f"{name} must be UTF-8, got {value[:20]!r} ({error.reason})") from error
        if not text.strip():
            raise DataError(f"{name} must not be empty, got {text!r}")
        texts.append(text)
    return texts


def read_sides(values: NDArray[np.object_] | None, count: int) -> list[Side]:
    """Return the side of each text of an optional BYTES tensor (B, 1); queries when it is absent.

    Raises:
        DataError: If a value is neither ``query`` nor ``product``.
    """
    if values is None:
        return ["query"] * count
    sides: list[Side] = []
    for value in values.reshape(-1):
        match value:
            case b"query" | "query":
                sides.append("query")
            case b"product" | "product":
                sides.append("product")
            case _:
                raise DataError(f"{SIDE} must be query or product, got {value!r}")
    return sides


def read_asked(texts: NDArray[np.object_], sides: NDArray[np.object_] | None) -> list[tuple[str, Side]]:
    """Return the texts of a BYTES tensor (B, 1), each with its side.

    Raises:
        DataError: As ``read_sides`` and ``read_texts``.
    """
    if texts.ndim != 2 or texts.shape[1] != 1:
        raise DataError(f"{TEXT} must be of shape (B, 1), got {tuple(texts.shape)}")
    of = read_sides(sides, len(texts))
    return list(zip(read_texts(texts, name=of[0]), of, strict=True))


def read_knobs(tensor: Callable[[str], NDArray[Any] | None], count: int) -> list[SearchKnobs]:
    """Return the knobs of each row of a request.

    Args:
        tensor: Called with the name of each knob; its optional tensor, (B, 1).
        count: B.

    Raises:
        DataError: If a value is out of its range.
    """
    columns: dict[str, list[Any]] = {}
    for name, (_, low, high, meaning) in KNOBS.items():
        if (values := tensor(name)) is None:
            continue
        columns[name] = values.reshape(-1).tolist()
        for value in columns[name]:
            if not low <= value <= high:  # NaN is nowhere
                raise DataError(f"{name} must be {low} to {high}{meaning}, got {value}")
    if not columns:
        return [SearchKnobs()] * count
    return [SearchKnobs(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

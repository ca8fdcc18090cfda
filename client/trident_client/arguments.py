"""Checks what is asked before it is sent; the messages are those of the server."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import InvalidRequestError
from trident_client.tensors import EF, EF_MAX, K_MAX, MIN_SCORE, OPTIONS, PREFIX, K


def check_list(texts: Any, name: str) -> None:
    """Raise unless texts are a list of at least one, each of them text and not empty.

    Args:
        texts: What was given.
        name: What errors call one of them, such as ``"query"``.

    Raises:
        InvalidRequestError: Naming the first text that breaks the rule.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence | np.ndarray) or not len(texts):
        raise InvalidRequestError(f"a list of at least one {name} is needed, got {texts!r}")
    for row, text in enumerate(texts):
        where = f" ({name} {row + 1} of {len(texts)})" if len(texts) > 1 else ""
        if not isinstance(text, str):
            raise InvalidRequestError(f"{name} must be a string, got {text!r}{where}")
        if not text.strip():
            raise InvalidRequestError(f"{name} must not be empty, got {text!r}{where}")
        if not _is_utf8(text):
            raise InvalidRequestError(f"{name} must be UTF-8, got {text[:20]!r}, which has half a character{where}")


def text_tensor(texts: Sequence[str]) -> NDArray[np.object_]:
    """Return texts as the (B, 1) object array of bytes that tritonclient sends."""
    return np.array([[text.encode()] for text in texts], dtype=np.object_)


def knobs(k: Any, ef: Any, min_score: Any) -> dict[str, np.generic]:
    """Return the values of the optional tensors by name; what is None is left to the server.

    Raises:
        InvalidRequestError: If a value is no number or out of its range.
    """
    found: dict[str, np.generic] = {K: np.int64(integer(K, k, K_MAX))}
    if ef is not None:
        found[EF] = np.int64(integer(EF, ef, EF_MAX))
    if min_score is not None:
        if not isinstance(min_score, int | float | np.floating) or not -1 <= min_score <= 1:
            raise InvalidRequestError(f"{MIN_SCORE} must be -1 to 1, a cosine, got {min_score}")
        found[MIN_SCORE] = np.float32(min_score)
    return found


def options_of(options: Any, named: Mapping[str, Any]) -> Any:
    """Return options with what was given by name; what is None is left out.

    Raises:
        InvalidRequestError: If something is given both ways.
    """
    given = {name: value for name, value in named.items() if value is not None}
    if not given or not (options is None or isinstance(options, Mapping)):
        return options
    both = given.keys() & (options or {}).keys()
    if both:
        raise InvalidRequestError(f"{min(both)} must be given by name or in {OPTIONS}, got both")
    return {**(options or {}), **given}


def check_query(query: Any, options: Any) -> None:
    """Raise unless a query is text, and not empty unless options say what is wanted instead.

    Raises:
        InvalidRequestError: If it is not.
    """
    if not (isinstance(query, str) and not query.strip() and options):
        check_list([query], "query")


def options_text(options: Any) -> str | None:
    """Return options as the JSON that is sent, one text for equal ones: keys sorted, no blanks; None for none.

    Raises:
        InvalidRequestError: If they are no mapping of names to what JSON can hold.
    """
    if options is None:
        return None
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InvalidRequestError(f"{OPTIONS} must be a mapping of names to values, got {options!r}")
    try:
        text = json.dumps(dict(options), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{OPTIONS} must be what JSON can hold, got {options!r} ({error})") from error
    return text if options else None


def check_prefix(prefix: Any) -> None:
    """Raise unless a prefix is text, which may be empty.

    Raises:
        InvalidRequestError: If it is not.
    """
    if not isinstance(prefix, str):
        raise InvalidRequestError(f"{PREFIX} must be a string, got {prefix!r}")
    if not _is_utf8(prefix):
        raise InvalidRequestError(f"{PREFIX} must be UTF-8, got {prefix[:20]!r}, which has half a character")


def integer(name: str, value: Any, highest: int) -> int:
    """Return a whole number, 1 to ``highest``.

    Raises:
        InvalidRequestError: If it is none, or out of the range.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidRequestError(f"{name} must be an integer, 1 to {highest}, got {value!r}") from error
    if not 1 <= number <= highest:
        raise InvalidRequestError(f"{name} must be 1 to {highest}, got {number}")
    return number


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True

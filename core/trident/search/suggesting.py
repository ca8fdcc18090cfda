"""Answers requests for suggestions: a prefix in, texts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import DataError
from trident.lexical.suggestions import Suggestions
from trident.retrieval.requests import check_size
from trident.retrieval.tensors import COUNT, K_DEFAULT, PREFIX, SOURCE, SUGGEST_K_MAX, SUGGESTION, K


def read_prefixes(prefixes: NDArray[np.object_], ks: NDArray[np.int64] | None) -> list[tuple[str, int]]:
    """Return what each row of a request asks for: a prefix, which may be empty, and how many suggestions.

    Args:
        prefixes: (B, 1) object array of bytes.
        ks: (B, 1); None: the default.

    Raises:
        DataError: If a prefix is too long or not UTF-8, or k out of its range.
    """
    wanted = [K_DEFAULT] * len(prefixes) if ks is None else ks.reshape(-1).tolist()
    asked = []
    for value, k in zip(prefixes.reshape(-1), wanted, strict=True):
        check_size(value, PREFIX)
        try:
            prefix = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise DataError(f"{PREFIX} must be UTF-8, got {value[:20]!r} ({error.reason})") from error
        if not 1 <= k <= SUGGEST_K_MAX:
            raise DataError(f"{K} must be 1 to {SUGGEST_K_MAX} suggestions, got {k}")
        asked.append((prefix, k))
    return asked


def suggest(suggestions: Suggestions, asked: Sequence[tuple[str, int]]) -> dict[str, NDArray[Any]]:
    """Return the output tensors of ``suggest``, without the generation, by name.

    Args:
        suggestions: Of a generation.
        asked: B prefixes, each with its k.
    """
    found = [suggestions.complete(prefix, k) for prefix, k in asked]
    shape = (len(asked), max(k for _, k in asked))
    texts, sources = np.full(shape, b"", dtype=np.object_), np.full(shape, b"", dtype=np.object_)
    for row, each in enumerate(found):
        texts[row, : len(each)] = [one.text.encode() for one in each]
        sources[row, : len(each)] = [one.source.encode() for one in each]
    counts = np.array([[len(each)] for each in found], dtype=np.int32)
    return {SUGGESTION: texts, SOURCE: sources, COUNT: counts}

"""Real queries for a load: drawn from a file of pairs or a query log, written as perf_analyzer reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from trident.comparison.compared_queries import read_queries
from trident.data.pairs import normalized_query
from trident.data.reading import Reading
from trident.errors import ConfigError
from trident.retrieval.tensors import ATTENTION_MASK, INPUT_IDS, OPTIONS, QUERY

Mix = Literal["distinct", "zipf", "log"]
ZIPF_EXPONENT = 1.0  # of query popularity by rank; logs of search engines lie around it (Baeza-Yates et al., 2007)


def draw_queries(path: Path, reading: Reading | None = None, *, count: int, mix: str = "distinct") -> list[str]:
    """Return queries for a load, in the order in which they are asked, which is the same each time.

    Args:
        path: A file with a column ``query``: labelled pairs, or a query log; or a ``.txt`` file, one query a line.
        reading: Its own name for that column, and its encoding.
        count: Queries to draw, >= 1; a file with fewer gives all it has (``distinct``), or starts again.
        mix: ``distinct``: every query once, shuffled; ``zipf``: drawn by popularity, the n-th with a weight of 1/n;
            ``log``: as the file has them.

    Raises:
        ConfigError: If count < 1 or the mix is unknown.
        DataError: If the file cannot be read or has an empty query.
    """
    if count < 1:
        raise ConfigError(f"--count must be >= 1, got {count}")
    if mix not in get_args(Mix):
        raise ConfigError(f"--mix must be one of {', '.join(get_args(Mix))}, got '{mix}'")
    logged = read_queries(path, reading)
    if mix == "log":
        return [logged[row % len(logged)] for row in range(count)]
    distinct = list({normalized_query(query): query for query in logged}.values())
    generator = np.random.default_rng(42)
    generator.shuffle(distinct)
    if mix == "distinct":
        return distinct[:count]
    weights = 1.0 / np.arange(1, len(distinct) + 1) ** ZIPF_EXPONENT
    return [distinct[rank] for rank in generator.choice(len(distinct), size=count, p=weights / weights.sum())]


def write_tensor_input(queries: Sequence[str], path: Path, *, options: str | None = None) -> Path:
    """Write perf_analyzer's input for a KServe server (gRPC and HTTP): one query a request, with its options if any."""
    more = {} if options is None else {OPTIONS: [options]}
    path.write_text(json.dumps({"data": [{QUERY: [query], **more} for query in queries]}), encoding="utf-8")
    return path


def write_rows_input(rows: Sequence[Sequence[int]], path: Path) -> Path:
    """Write perf_analyzer's input for the encoder by itself: the token ids of a row a request, at its own length."""
    data = [
        {
            name: {"content": list(content), "shape": [len(row)]}
            for name, content in ((INPUT_IDS, row), (ATTENTION_MASK, [1] * len(row)))
        }
        for row in rows
    ]
    path.write_text(json.dumps({"data": data}), encoding="utf-8")
    return path


def write_rest_input(queries: Sequence[str], path: Path, *, field: str, fixed: dict[str, object] | None = None) -> Path:
    """Write perf_analyzer's input for a server that takes JSON: each query under a field, fixed fields beside it."""
    bodies = [{**(fixed or {}), field: query} for query in queries]
    path.write_text(json.dumps({"data": [{"payload": [body]} for body in bodies]}), encoding="utf-8")
    return path

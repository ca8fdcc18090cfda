"""Labelled pairs: query, product title, relevance; the input of training, evaluation and the quality gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue, require_one_title
from trident.data.tables import read_table, require_text
from trident.errors import DataError, nearest


@dataclass(frozen=True)
class Pairs:
    """P labelled pairs, one list or array a column.

    Attributes:
        queries: P raw queries.
        titles: P raw product titles.
        labels: (P,) int8, 1 relevant and 0 not.
        grades: (P,) float32 gain for NDCG, at least 0; the labels where the source has no grades.
        product_ids: P ids, the titles themselves where the source has no ids.
        splits: P names of splits, or None where the source has none.
    """

    queries: list[str]
    titles: list[str]
    labels: NDArray[np.int8]
    grades: NDArray[np.float32]
    product_ids: list[str]
    splits: list[str] | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.queries)

    def take(self, rows: Iterable[int]) -> Pairs:
        """Return the pairs of the given row numbers, in that order."""
        chosen = list(rows)
        return Pairs(
            queries=[self.queries[row] for row in chosen],
            titles=[self.titles[row] for row in chosen],
            labels=self.labels[chosen],
            grades=self.grades[chosen],
            product_ids=[self.product_ids[row] for row in chosen],
            splits=None if self.splits is None else [self.splits[row] for row in chosen],
        )

    def save(self, path: Path) -> None:
        """Write the pairs as one Parquet file that ``read_pairs`` reads."""
        table = {
            "query": self.queries,
            "product_id": self.product_ids,
            "product_title": self.titles,
            "relevance_label": self.labels,
            "grade": self.grades,
        }
        if self.splits is not None:
            table["split"] = self.splits
        pyarrow.parquet.write_table(pa.table(table), path, compression="zstd")


def normalized_query(query: str) -> str:
    """Return the form under which two spellings count as one query: case folded, white space collapsed."""
    return " ".join(query.casefold().split())


def read_pairs(
    path: Path,
    columns: Mapping[str, str] | None = None,
    *,
    positive_from: float | None = None,
    catalogue: Catalogue | None = None,
) -> Pairs:
    """Return the labelled pairs of a CSV, TSV, JSON Lines or Parquet file.

    Args:
        path: The file; see ``trident.data.tables``.
        columns: From ``query``, ``product_title``, ``relevance_label``, ``product_id``, ``grade`` and ``split`` to the
            file's own names.
        positive_from: Labels of at least this value are relevant; None wants labels of 0 and 1.
        catalogue: Gives the titles when the file has ids only.

    Raises:
        DataError: If a column is missing, a text is empty, a label is not allowed, or an id has two titles.
    """
    return pairs_from_table(
        read_table(path, renamed=columns or {}, required=_required(catalogue)),
        path,
        positive_from=positive_from,
        catalogue=catalogue,
    )


def pairs_from_table(
    table: pa.Table, path: Path, *, positive_from: float | None = None, catalogue: Catalogue | None = None
) -> Pairs:
    """Return the pairs of a table of strings; ``path`` is what errors name. See ``read_pairs``."""
    if "product_title" not in table.column_names and catalogue is not None:
        table = table.append_column("product_title", pa.array(_titles_of(table, catalogue, path)))
    require_text(table, "query", path)
    require_text(table, "product_title", path)
    titles = table["product_title"].to_pylist()
    values = _numbers(table, "relevance_label", path)
    if positive_from is not None:
        labels = (values >= positive_from).astype(np.int8)
    else:
        labels = _binary(values, table, path)
    if "grade" in table.column_names:
        grades = _numbers(table, "grade", path).astype(np.float32)
    else:
        grades = values.astype(np.float32)
    if grades.min() < 0:
        row = int(np.argmin(grades))
        raise DataError(f"grades must be >= 0, got {grades[row]:g} in row {row + 1} of {path}")
    product_ids = titles
    if "product_id" in table.column_names:
        require_text(table, "product_id", path)
        product_ids = table["product_id"].to_pylist()
        require_one_title(product_ids, titles, path)
    return Pairs(
        queries=table["query"].to_pylist(),
        titles=titles,
        labels=labels,
        grades=grades,
        product_ids=product_ids,
        splits=table["split"].to_pylist() if "split" in table.column_names else None,
    )


def _required(catalogue: Catalogue | None) -> tuple[str, ...]:
    text = "product_title" if catalogue is None else "product_id"
    return ("query", text, "relevance_label")


def _titles_of(table: pa.Table, catalogue: Catalogue, path: Path) -> list[str]:
    by_id = dict(zip(catalogue.product_ids, catalogue.titles, strict=True))
    titles = []
    for row, product_id in enumerate(table["product_id"].to_pylist()):
        title = by_id.get(product_id)
        if title is None:
            hint = nearest(product_id, list(by_id)[:1000])
            raise DataError(f"product_id '{product_id}' in row {row + 1} of {path} is not in the catalogue{hint}")
        titles.append(title)
    return titles


def _numbers(table: pa.Table, column: str, path: Path) -> NDArray[np.float64]:
    values = np.empty(table.num_rows, dtype=np.float64)
    for row, text in enumerate(table[column].to_pylist()):
        try:
            values[row] = float(text)
        except ValueError as error:
            raise DataError(f"column '{column}' must hold numbers, got {text!r} in row {row + 1} of {path}") from error
        if not math.isfinite(values[row]):
            raise DataError(f"column '{column}' must hold finite numbers, got {text!r} in row {row + 1} of {path}")
    return values


def _binary(values: NDArray[np.float64], table: pa.Table, path: Path) -> NDArray[np.int8]:
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"relevance_label must be 0 or 1, got {table['relevance_label'][row].as_py()} in row {row + 1} of {path} "
            f"({wrong.size:,} such rows): set data.positive_from to the lowest relevant grade"
        )
    return values.astype(np.int8)

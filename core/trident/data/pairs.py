"""Labelled pairs: query, product title, relevance; the input of training, evaluation and the quality gate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue, columns_of, with_locales, with_one_title
from trident.data.labels import LabelRule, labels_and_gains, numbers
from trident.data.meeting import titles_of
from trident.data.reading import PAIR_COLUMNS, Reading
from trident.data.tables import read_table, require_text
from trident.errors import DataError


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


def query_hash(query: str, salt: str = "") -> int:
    """Return a number by which queries are put into an order that has nothing to do with them; 64 bits."""
    return int.from_bytes(hashlib.sha256(f"{salt}{query}".encode()).digest()[:8], "big")


def query_hashes(queries: Iterable[str]) -> NDArray[np.uint64]:
    """Return the sorted distinct 64-bit hashes of queries; a run keeps those it was trained on."""
    return np.array(sorted({query_hash(normalized_query(query)) for query in queries}), dtype=np.uint64)


def pairs_of_catalogue(pairs: Pairs, sources: Sequence[str], catalogue: Catalogue) -> tuple[Pairs, tuple[str, ...]]:
    """Return the pairs of those sources whose products a catalogue has, by its ids, and the names of these sources.

    Where a run has several sources, its ids start with ``NAME:``. A source is of the catalogue if this has at least
    half of its products. Where none is, all pairs stay as they are, and no source is named.

    Args:
        pairs: Of a run.
        sources: Its sources' names; fewer than two: ids are plain.
        catalogue: That is searched.
    """
    if len(sources) < 2:
        return pairs, ()
    meeting: dict[str, list[int]] = {}
    for name in sources:
        mark = f"{name}:"
        rows = [row for row, product in enumerate(pairs.product_ids) if product.startswith(mark)]
        products = {pairs.product_ids[row].removeprefix(mark) for row in rows}
        if products and 2 * len(catalogue.texts[0].rows_of(products)) >= len(products):
            meeting[name] = rows
    if not meeting:
        return pairs, ()
    name_of = {row: name for name, rows in meeting.items() for row in rows}
    chosen = sorted(name_of)
    ids = [pairs.product_ids[row].removeprefix(f"{name_of[row]}:") for row in chosen]
    return replace(pairs.take(chosen), product_ids=ids), tuple(meeting)


def read_pairs(
    path: Path, reading: Reading | None = None, *, labels: LabelRule | None = None, catalogue: Catalogue | None = None
) -> Pairs:
    """Return the labelled pairs of a CSV, TSV, JSON or Parquet file, or of a folder of such.

    Args:
        path: The file; see ``trident.data.tables``.
        reading: Its own names for the columns ``query``, ``product_title``, ``relevance_label``, ``product_id``,
            ``grade``, ``split`` and ``product_locale``, and its encoding.
        labels: Which labels are relevant; None wants labels of 0 and 1.
        catalogue: Gives the titles when the file has ids only.

    Raises:
        DataError: If a column is missing, a text is empty, a label is not allowed, or an id has two titles.
    """
    reading = reading or Reading()
    table = read_table(path, reading, required=_required(catalogue), known=columns_of(PAIR_COLUMNS, reading))
    return pairs_from_table(table, path, reading, labels=labels, catalogue=catalogue)


def pairs_from_table(
    table: pa.Table,
    path: Path,
    reading: Reading,
    *,
    labels: LabelRule | None = None,
    catalogue: Catalogue | None = None,
) -> Pairs:
    """Return the pairs of a table of strings; ``path`` is what errors name. See ``read_pairs``."""
    rule = labels or LabelRule()
    table = with_locales(table, path)
    if "product_title" not in table.column_names and catalogue is not None:
        table = table.append_column(
            "product_title", pa.array(titles_of(table["product_id"].to_pylist(), catalogue, path))
        )
    require_text(table, "query", path)
    require_text(table, "product_title", path)
    titles = table["product_title"].to_pylist()
    relevant, grades = labels_and_gains(table["relevance_label"].to_pylist(), rule, path, reading.options)
    if "grade" in table.column_names and not rule.gains:
        grades = numbers(table["grade"].to_pylist(), "grade", path).astype(np.float32)
    if grades.min() < 0:
        row = int(np.argmin(grades))
        raise DataError(f"grades must be >= 0, got {grades[row]:g} in row {row + 1} of {path}")
    product_ids = titles
    if "product_id" in table.column_names:
        require_text(table, "product_id", path)
        product_ids = table["product_id"].to_pylist()
        titles = with_one_title(product_ids, titles, path, reading.options)
    return Pairs(
        queries=table["query"].to_pylist(),
        titles=titles,
        labels=relevant,
        grades=grades,
        product_ids=product_ids,
        splits=table["split"].to_pylist() if "split" in table.column_names else None,
    )


def _required(catalogue: Catalogue | None) -> tuple[str, ...]:
    text = "product_title" if catalogue is None else "product_id"
    return ("query", text, "relevance_label")

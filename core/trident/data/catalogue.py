"""The catalogue: the products that are embedded, indexed and found. Ids are text and unique; titles are not empty."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from trident.data.tables import read_table, require_text
from trident.errors import DataError, GenerationError

CATALOGUE_FILE = "catalogue.parquet"
REQUIRED = ("product_id", "product_title")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """N products.

    ``product_ids`` are N unique strings, ``titles`` N strings of the same order, ``attributes`` a table of N rows
    with whatever other columns the file had.
    """

    product_ids: list[str]
    titles: list[str]
    attributes: pa.Table = field(repr=False)

    def __len__(self) -> int:
        """Return the number of products."""
        return len(self.product_ids)

    def save(self, path: Path) -> None:
        """Write the catalogue as one Parquet file (no timestamps: equal catalogues give equal bytes)."""
        table = pa.table({"product_id": self.product_ids, "product_title": self.titles})
        for name in self.attributes.column_names:
            table = table.append_column(name, self.attributes[name])
        pyarrow.parquet.write_table(table, path, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read what ``save`` wrote.

        Raises:
            GenerationError: If the file is missing or damaged.
        """
        try:
            table = pyarrow.parquet.read_table(path)
            return _from_table(table)
        except (FileNotFoundError, pa.ArrowException, OSError, KeyError) as error:
            raise GenerationError(f"catalogue {path} is missing or damaged: {error}; export again") from error


def read_catalogue(path: Path, columns: Mapping[str, str] | None = None) -> Catalogue:
    """Return the products of a CSV, TSV, JSON Lines or Parquet file.

    Rows that repeat an id and its title are dropped and counted in the log.

    Args:
        path: The file; see ``trident.data.tables``.
        columns: From ``product_id`` and ``product_title`` to the file's own names.

    Raises:
        DataError: If a column is missing, an id or title is empty, or an id has two different titles.
    """
    table = read_table(path, renamed=columns or {}, required=REQUIRED)
    for column in REQUIRED:
        require_text(table, column, path)
    first_rows = _first_rows(table["product_id"].to_pylist(), table["product_title"].to_pylist(), path)
    if len(first_rows) < table.num_rows:
        logger.info("%s: dropped %d rows that repeat a product", path, table.num_rows - len(first_rows))
        table = table.take(first_rows)
    return _from_table(table)


def require_one_title(product_ids: list[str], titles: list[str], path: Path) -> None:
    """Raise unless every product id stands with one title only.

    Raises:
        DataError: Naming the id, both titles and both rows.
    """
    _first_rows(product_ids, titles, path)


def _first_rows(product_ids: list[str], titles: list[str], path: Path) -> list[int]:
    seen: dict[str, int] = {}
    for row, (product_id, title) in enumerate(zip(product_ids, titles, strict=True)):
        first = seen.setdefault(product_id, row)
        if titles[first] != title:
            raise DataError(
                f"product_id '{product_id}' must have one title, got {titles[first]!r} in row {first + 1} "
                f"and {title!r} in row {row + 1} of {path}: remove one"
            )
    return list(seen.values())


def _from_table(table: pa.Table) -> Catalogue:
    return Catalogue(
        product_ids=table["product_id"].to_pylist(),
        titles=table["product_title"].to_pylist(),
        attributes=table.drop_columns(list(REQUIRED)),
    )

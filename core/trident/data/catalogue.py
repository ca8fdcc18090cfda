"""The catalogue: the products that are embedded, indexed and found. Ids are text and unique; titles are not empty."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from trident.data.reading import CATALOGUE_COLUMNS, Options, Reading
from trident.data.tables import read_table, require_text
from trident.errors import DataError, GenerationError

CATALOGUE_FILE = "catalogue.parquet"
REQUIRED = ("product_id", "product_title")
LOCALE = "product_locale"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """N products.

    ``product_ids`` are N unique strings, ``titles`` N strings of the same order, ``attributes`` a table of N rows
    with whatever other columns the file had, each of its type; ``save`` leaves them out, ``trident.attributes`` keeps
    them.
    """

    product_ids: list[str]
    titles: list[str]
    attributes: pa.Table = field(repr=False)

    def __len__(self) -> int:
        """Return the number of products."""
        return len(self.product_ids)

    def save(self, path: Path) -> None:
        """Write ids and titles as one Parquet file (no timestamps: equal catalogues give equal bytes)."""
        table = pa.table({"product_id": self.product_ids, "product_title": self.titles})
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


def read_catalogue(path: Path, reading: Reading | None = None, *, attributes: bool = False) -> Catalogue:
    """Return the products of a CSV, TSV, JSON or Parquet file, or of a folder of such.

    Rows that repeat an id and its title are dropped and counted in the log.

    Args:
        path: The file; see ``trident.data.tables``.
        reading: Its own names for ``product_id`` and ``product_title``, and its encoding. Where it maps
            ``product_locale``, that stands before each id (``us:B01``), so that one id may be a product a locale.
        attributes: Whether all other columns are read too.

    Raises:
        DataError: If a column is missing, an id or title is empty, or an id has two different titles.
    """
    reading = reading or Reading()
    known = columns_of(CATALOGUE_COLUMNS, reading)
    table = read_table(path, reading, required=REQUIRED, known=known, others=attributes)
    for column in REQUIRED:
        require_text(table, column, path)
    table = with_locales(table, path)
    first_rows = _first_rows(table["product_id"].to_pylist(), table["product_title"].to_pylist(), path, reading.options)
    kept = sorted(set(first_rows))
    if len(kept) < table.num_rows:
        logger.info("%s: dropped %d rows that repeat a product", path, table.num_rows - len(kept))
        mask = np.zeros(table.num_rows, dtype=bool)
        mask[kept] = True
        table = table.filter(pa.array(mask))
    return _from_table(table)


def with_one_title(product_ids: list[str], titles: list[str], path: Path, options: Options) -> list[str]:
    """Return the titles, of each product the first; those of one product may differ in white space only.

    Raises:
        DataError: Naming the id, both titles and both rows.
    """
    return [titles[row] for row in _first_rows(product_ids, titles, path, options)]


def columns_of(known: tuple[str, ...], reading: Reading) -> tuple[str, ...]:
    """Return the columns of the contract that are read: ``product_locale`` only where it is mapped."""
    return tuple(name for name in known if name != LOCALE or name in reading.columns)


def with_locales(table: pa.Table, path: Path) -> pa.Table:
    """Return a table whose product ids begin with their locale, where it has such a column."""
    if LOCALE not in table.column_names:
        return table
    if "product_id" not in table.column_names:
        raise DataError(f"{LOCALE} is mapped and {path} has no column product_id that it could stand before")
    require_text(table, LOCALE, path)
    ids = pc.binary_join_element_wise(table[LOCALE], table["product_id"], ":")
    return table.set_column(table.column_names.index("product_id"), "product_id", ids)


def _first_rows(product_ids: list[str], titles: list[str], path: Path, options: Options) -> list[int]:
    """Return the first row of each row's product."""
    seen: dict[str, int] = {}
    rows = []
    for row, (product_id, title) in enumerate(zip(product_ids, titles, strict=True)):
        first = seen.setdefault(product_id, row)
        rows.append(first)
        if titles[first] != title and titles[first].split() != title.split():
            raise DataError(
                f"product_id '{product_id}' must have one title, got {titles[first]!r} in row {first + 1} "
                f"and {title!r} in row {row + 1} of {path}: remove one, or, where an id is another product in each "
                f"locale, map that column with {options.map_column(LOCALE)}"
            )
    return rows


def _from_table(table: pa.Table) -> Catalogue:
    return Catalogue(
        product_ids=table["product_id"].to_pylist(),
        titles=table["product_title"].to_pylist(),
        attributes=table.drop_columns(list(REQUIRED)),
    )

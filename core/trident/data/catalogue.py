"""The catalogue: the products that are embedded, indexed and found. Ids are text and unique; titles are not empty."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from numpy.typing import NDArray

from trident.data.reading import CATALOGUE_COLUMNS, Options, Reading
from trident.data.tables import read_table, require_text
from trident.data.texts import Texts
from trident.errors import DataError, GenerationError

CATALOGUE_FILE = "catalogue.arrow"
REQUIRED = ("product_id", "product_title")
LOCALE = "product_locale"
MAX_ID_BYTES = 2048  # what a URL may have; ids are keys, and come back in every answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """N products.

    ``product_ids`` are N unique strings, ``titles`` N strings of the same order, ``attributes`` a table of N rows
    with whatever other columns the file had, each of its type; ``save`` leaves them out, ``trident.attributes`` keeps
    them. Whatever they are made of, ids and titles are kept as ``Texts``; of a catalogue that was loaded they are
    mapped from its file.
    """

    product_ids: Sequence[str]
    titles: Sequence[str]
    attributes: pa.Table = field(repr=False)

    def __post_init__(self) -> None:
        """Keep ids and titles without a Python object each."""
        for name in ("product_ids", "titles"):
            object.__setattr__(self, name, Texts.of(getattr(self, name)))

    def __len__(self) -> int:
        """Return the number of products."""
        return len(self.product_ids)

    @property
    def texts(self) -> tuple[Texts, Texts]:
        """Ids and titles, in the form in which rows are taken out of them."""
        return Texts.of(self.product_ids), Texts.of(self.titles)

    def save(self, path: Path) -> None:
        """Write ids and titles as one Arrow file that can be mapped; equal catalogues give equal bytes."""
        table = pa.table({name: texts.array for name, texts in zip(REQUIRED, self.texts, strict=True)})
        with pa.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Return what ``save`` wrote, mapped: a row is read when it is asked for.

        Raises:
            GenerationError: If the file is missing, cut off or damaged where its rows are described.
        """
        try:
            table = pyarrow.ipc.open_file(pa.memory_map(str(path))).read_all()
            table.validate()
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
        DataError: If a column is missing, an id or title is empty, an id is longer than ``MAX_ID_BYTES``, or an id
            has two different titles.
    """
    reading = reading or Reading()
    known = columns_of(CATALOGUE_COLUMNS, reading)
    table = read_table(path, reading, required=REQUIRED, known=known, others=attributes)
    for column in REQUIRED:
        require_text(table, column, path)
    table = with_locales(table, path)
    catalogue = _from_table(table)
    product_ids, titles = catalogue.texts
    row, length = product_ids.longest()
    if length > MAX_ID_BYTES:
        raise DataError(
            f"a product_id must have at most {MAX_ID_BYTES:,} bytes, got {length:,} in row {row + 1} of {path} "
            f"('{product_ids[row][:40]}…'): name another column with {reading.options.map_column('product_id')}"
        )
    first = _first_rows(product_ids, titles, path, reading.options)
    is_first = first == np.arange(len(first))
    if is_first.all():
        return catalogue
    logger.info("%s: dropped %d rows that repeat a product", path, len(first) - int(is_first.sum()))
    return _from_table(table.filter(pa.array(is_first)))


def with_one_title(product_ids: Iterable[str], titles: Sequence[str], path: Path, options: Options) -> list[str]:
    """Return the titles, of each product the first; those of one product may differ in white space only.

    Raises:
        DataError: Naming the id, both titles and both rows.
    """
    return [titles[row] for row in _first_rows(Texts.of(product_ids), titles, path, options).tolist()]


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


def _first_rows(product_ids: Texts, titles: Sequence[str], path: Path, options: Options) -> NDArray[np.int64]:
    """Return the first row of each row's product, (N,)."""
    rows = product_ids.first_rows()
    for row in np.flatnonzero(rows != np.arange(len(rows))).tolist():
        first = int(rows[row])
        title, other = titles[first], titles[row]
        if title != other and title.split() != other.split():
            raise DataError(
                f"product_id '{product_ids[row]}' must have one title, got {title!r} in row {first + 1} "
                f"and {other!r} in row {row + 1} of {path}: remove one, or, where an id is another product in each "
                f"locale, map that column with {options.map_column(LOCALE)}"
            )
    return rows


def _from_table(table: pa.Table) -> Catalogue:
    return Catalogue(
        product_ids=Texts.of(table["product_id"]),
        titles=Texts.of(table["product_title"]),
        attributes=table.drop_columns(list(REQUIRED)),
    )

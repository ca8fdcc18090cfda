"""Make the bundled sample: a catalogue and judged pairs, the same for every run with the same seed."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from trident.errors import DataError
from trident_train.data.sample.catalogue import build_items
from trident_train.data.sample.chance import seeded
from trident_train.data.sample.intents import assign_splits, build_intents
from trident_train.data.sample.judgements import Shelf, judge
from trident_train.data.sample.rows import RELEVANT_FROM, Pair, Product, Sample, SamplePaths
from trident_train.data.sample.words import load_vocabulary

DEFAULT_SEED = 7
PRODUCTS_FILE = "products.csv"
PAIRS_FILE = "pairs.csv"


def generate(*, seed: int = DEFAULT_SEED) -> Sample:
    """Return the sample of a seed: about 3,800 products, 680 queries and 10,700 judged pairs.

    Neither the interpreter's hash seed nor the order of files on disk changes a byte.
    """
    vocabulary = load_vocabulary()
    items = build_items(vocabulary, seed=seed)
    intents = build_intents(vocabulary, items, seed=seed)
    shelf = Shelf(items, intents)
    pairs = []
    for intent, split in zip(intents, assign_splits(intents, seed=seed), strict=True):
        for query in intent.queries:
            for item, grade in judge(intent, shelf, seeded(seed, f"judgements/{query.text}")):
                pairs.append(
                    Pair(
                        query=query.text,
                        product_id=item.product.product_id,
                        product_title=item.product.product_title,
                        grade=grade,
                        relevance_label=1 if grade >= RELEVANT_FROM else 0,
                        split=split,
                        query_kind=query.kind,
                    )
                )
    return Sample(products=tuple(item.product for item in items), pairs=tuple(pairs))


def write_sample(folder: Path) -> SamplePaths:
    """Write ``products.csv`` and ``pairs.csv`` into a folder of their own, and return their paths.

    The files are written beside the folder and take its place in one go; an earlier sample there is replaced whole.

    Raises:
        DataError: If the folder holds anything but an earlier sample, or is a file.
    """
    _require_own_folder(folder)
    sample = generate()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staging:
        new, old = Path(staging) / "new", Path(staging) / "old"
        new.mkdir()
        _write_rows(new / PRODUCTS_FILE, tuple(field.name for field in fields(Product)), sample.products)
        _write_rows(new / PAIRS_FILE, tuple(field.name for field in fields(Pair)), sample.pairs)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    return SamplePaths(products=folder / PRODUCTS_FILE, pairs=folder / PAIRS_FILE)


def _require_own_folder(folder: Path) -> None:
    if folder.is_file():
        raise DataError(f"the sample needs a folder of its own, got the file {folder}: name another folder")
    others = (
        sorted(entry.name for entry in folder.iterdir() if entry.name not in (PRODUCTS_FILE, PAIRS_FILE))
        if folder.exists()
        else []
    )
    if others:
        raise DataError(
            f"the sample needs a folder of its own, got '{others[0]}' among {len(others)} other entries in {folder}: "
            "name a new folder"
        )


def _write_rows(path: Path, columns: Sequence[str], rows: Iterable[Product | Pair]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(astuple(row) for row in rows)

"""What ``trident evaluate`` does: reads pairs and catalogue, finds the model, makes the rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trident.config import apply_override, from_table, to_table
from trident.data.catalogue import read_catalogue
from trident.data.pairs import Pairs, normalized_query, read_pairs
from trident.encoder.base_model import find_model
from trident.encoder.folder_text import read_folder_text
from trident.encoder.text import TextContract
from trident.errors import ConfigError, DataError, nearest
from trident_train.data.splits import query_hashes, trained_share
from trident_train.judge.evaluate import Row, rank_bm25, rank_encoder, rank_random
from trident_train.model.encoder import Encoder
from trident_train.report.run_folder import RECIPE_FILE, TRAINED_QUERIES_FILE, load_run

COLUMNS = ("query", "product_title", "relevance_label", "product_id", "grade", "split")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to judge on what; see the options of ``trident evaluate``."""

    model: str
    pairs: Path
    catalogue: Path | None = None
    split: str | None = None
    held_out: bool = False
    positive_from: float | None = None
    columns: dict[str, str] = field(default_factory=dict)
    text: Sequence[str] = ()  # changes of the text contract, such as "query_template=query: {text}"


def judge(request: Request, *, progress: Callable[[int], None]) -> tuple[list[Row], list[str]]:
    """Return the rows random, BM25 and model, and notes that the reader of the figures should know.

    Raises:
        TridentError: If the pairs, the catalogue or the model cannot be used.
    """
    catalogue = None if request.catalogue is None else read_catalogue(request.catalogue)
    pairs = read_pairs(request.pairs, request.columns, positive_from=request.positive_from, catalogue=catalogue)
    if request.split is not None:
        pairs = _of_split(pairs, request.split, request.pairs)
    run = Path(request.model)
    notes = []
    if (run / RECIPE_FILE).is_file():
        encoder = load_run(run, text=changed_contract(TextContract.load(run), request.text))
        trained = np.load(run / TRAINED_QUERIES_FILE)
        share = trained_share(pairs.queries, trained)
        if share and request.held_out:
            kept = [row for row, query in enumerate(pairs.queries) if not np.isin(query_hashes([query]), trained).all()]
            if not kept:
                raise DataError(f"all queries of {request.pairs} were trained on: --held-out leaves none")
            pairs = pairs.take(kept)
            notes.append(f"{share:.0%} of the queries were trained on and left out")
        elif share:
            notes.append(f"{share:.0%} of these queries were trained on: the figures flatter; add --held-out")
    else:
        folder = find_model(request.model)
        said = read_folder_text(folder)
        contract = from_table(TextContract, said.changes, where=str(folder))
        encoder = Encoder.load(folder, changed_contract(contract, request.text))
        given = {item.partition("=")[0].strip() for item in request.text}
        notes += [line] if (line := said.line(given)) else []
        if not said.changes:
            notes.append("the model has no text contract: mean pooling and no templates, but for --text, were taken")
    rows = [
        rank_random(pairs, catalogue).row("random", pairs, catalogue),
        rank_bm25(pairs, catalogue).row("BM25", pairs, catalogue),
        rank_encoder(encoder, pairs, catalogue, progress=progress).row(request.model, pairs, catalogue),
    ]
    return rows, notes


def changed_contract(contract: TextContract, items: Sequence[str]) -> TextContract:
    """Return a text contract with ``key=value`` changes.

    Raises:
        ConfigError: If a key is unknown, or a value breaks a rule.
    """
    table = to_table(contract)
    for item in items:
        apply_override(table, item)
    return from_table(TextContract, table, where="--text")


def parse_columns(items: Sequence[str]) -> dict[str, str]:
    """Return ``NAME=COLUMN`` items as a mapping.

    Raises:
        ConfigError: If an item has no ``=``, or the name is not one of the contract.
    """
    columns = {}
    for item in items:
        name, separator, column = item.partition("=")
        if not separator or not column:
            raise ConfigError(f"--column takes NAME=COLUMN, got '{item}'")
        if name not in COLUMNS:
            raise ConfigError(f"--column: unknown name '{name}'{nearest(name, COLUMNS)} (known: {', '.join(COLUMNS)})")
        columns[name] = column
    return columns


def _of_split(pairs: Pairs, split: str, path: Path) -> Pairs:
    if pairs.splits is None:
        raise DataError(f"{path} has no split column to choose '{split}' from")
    kept = [row for row, value in enumerate(pairs.splits) if normalized_query(value) == normalized_query(split)]
    if not kept:
        raise DataError(f"no pair of {path} is in split '{split}': found {', '.join(sorted(set(pairs.splits)))}")
    return pairs.take(kept)

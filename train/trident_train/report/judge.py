"""What ``trident evaluate`` does: reads pairs and catalogue, finds the model, makes the rows of the table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trident.config import apply_override, from_table, to_table
from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.labels import LabelRule
from trident.data.meeting import meet
from trident.data.pairs import Pairs, normalized_query, pairs_of_catalogue, query_hashes, read_pairs
from trident.data.reading import Reading
from trident.encoder.base_model import find_model
from trident.encoder.folder_text import read_folder_text
from trident.encoder.text import TextContract
from trident.errors import ConfigError, DataError, nearest
from trident.lexical.index import LexicalConfig
from trident_train.data.audit import contradictions, require_consistent
from trident_train.data.relevant_only import OTHERS, is_relevant_only, products_of, with_others
from trident_train.data.splits import trained_share
from trident_train.judge.evaluate import Row, rank_bm25, rank_encoder, rank_random
from trident_train.judge.hybrid import HybridData, rank_served, tuned_bm25
from trident_train.report.report import PRETRAINED
from trident_train.report.run_files import RECIPE_FILE, TRAINED_QUERIES_FILE, VALIDATION_PAIRS_FILE, read_recipe

if TYPE_CHECKING:
    from trident_train.model.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to judge on what; see the options of ``trident evaluate``."""

    model: str
    pairs: Path
    catalogue: Path | None = None
    split: str | None = None
    held_out: bool = False
    labels: LabelRule = field(default_factory=LabelRule)
    contradictions: str = "refuse"  # or "drop": pairs that are relevant and irrelevant
    reading: Reading = field(default_factory=Reading)  # of the pairs
    catalogue_reading: Reading = field(default_factory=Reading)
    text: Sequence[str] = ()  # changes of the text contract, such as "query_template=query: {text}"


@dataclass(frozen=True)
class Prepared:
    """What is judged on what, read and found fit for it; ``notes`` are for the reader of the figures.

    ``validation`` are the pairs that a run's weights were chosen by, of which BM25's parameters and the weight of words
    are chosen as an export would; None without any.
    """

    model: str
    load: Callable[[], Encoder]
    pairs: Pairs
    catalogue: Catalogue | None
    notes: list[str]
    validation: Pairs | None = None


def prepare(request: Request) -> Prepared:
    """Return what is needed to judge, all but the encoder, which is loaded with PyTorch.

    Raises:
        TridentError: If the pairs, the catalogue or the model cannot be used.
    """
    if request.contradictions not in ("refuse", "drop"):
        raise ConfigError(f"--contradictions must be refuse or drop, got '{request.contradictions}'")
    catalogue = None if request.catalogue is None else read_catalogue(request.catalogue, request.catalogue_reading)
    pairs = read_pairs(request.pairs, request.reading, labels=request.labels, catalogue=catalogue)
    if request.split is not None:
        pairs = _of_split(pairs, request.split, request.pairs)
    folder = Path(request.model)
    notes: list[str] = []
    validation = None
    is_run = (folder / RECIPE_FILE).is_file()
    if is_run:
        contract = changed_contract(TextContract.load(folder), request.text)
        trained = np.load(folder / TRAINED_QUERIES_FILE)
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
        contract = changed_contract(from_table(TextContract, said.changes, where=str(folder)), request.text)
        given = {item.partition("=")[0].strip() for item in request.text}
        notes += [line] if (line := said.line(given)) else []
        if not said.changes:
            notes.append("the model has no text contract: mean pooling and no templates, but for --text, were taken")
    sources = list(read_recipe(folder).data.sources) if is_run else []
    if catalogue is not None:  # the pairs may be those that a run of several sources left
        pairs, _ = pairs_of_catalogue(pairs, sources, catalogue)
    pairs = _fit_to_judge(pairs, catalogue, request, notes)
    if catalogue is not None and (validation := _validation(folder, pairs, notes)) is not None:
        validation, own = pairs_of_catalogue(validation, sources, catalogue)
        if own:
            notes.append(f"validation pairs of {' and '.join(own)}, whose products the catalogue has")
    load = partial(_load, folder, contract, is_run=is_run)
    return Prepared(request.model, load, pairs, catalogue, notes, validation)


def judge(prepared: Prepared, *, progress: Callable[[int], None]) -> tuple[list[Row], list[str]]:
    """Return a row for each stage, and notes that the reader of the figures should know.

    Random, BM25 as most engines have it, the pretrained model where the one that is judged is it with adapters, and the
    model itself; over a catalogue BM25 tuned, and vectors with words, too, as an export would choose.

    Raises:
        TridentError: If the model cannot be loaded.
    """
    pairs, catalogue, encoder = prepared.pairs, prepared.catalogue, prepared.load()
    rankings = {"random": rank_random(pairs, catalogue), "BM25": rank_bm25(pairs, catalogue)}
    validation = pairs.take([]) if prepared.validation is None else prepared.validation
    config = LexicalConfig()
    if catalogue is not None:
        config = tuned_bm25(validation, catalogue)
        rankings["BM25 tuned"] = rank_bm25(pairs, catalogue, config)
    if hasattr(encoder.model, "disable_adapter"):  # of PEFT
        with encoder.model.disable_adapter():
            rankings[PRETRAINED] = rank_encoder(encoder, pairs, catalogue, progress=progress)
    if catalogue is None:
        rankings[prepared.model] = rank_encoder(encoder, pairs, progress=progress)
    else:
        served = rank_served(encoder, HybridData(validation, pairs, catalogue), config, progress=progress)
        rankings[prepared.model], rankings["hybrid"] = served.dense, served.hybrid
    return [ranking.row(name, pairs, catalogue) for name, ranking in rankings.items()], prepared.notes


def _validation(folder: Path, pairs: Pairs, notes: list[str]) -> Pairs | None:
    """Return the validation pairs of a run; None where there are none. A note says what that means for the figures."""
    path = folder / VALIDATION_PAIRS_FILE
    if not path.is_file():
        notes.append("no validation pairs: BM25 tuned has the defaults for short titles, and hybrid goes by ranks")
        return None
    validation = read_pairs(path)
    chosen_by = set(map(normalized_query, validation.queries))
    both = len(chosen_by & set(map(normalized_query, pairs.queries)))
    if both:
        notes.append(
            f"{both:,} of these queries validated the run and choose BM25's parameters and the weight of words"
        )
    return validation


def _load(folder: Path, contract: TextContract, *, is_run: bool) -> Encoder:
    from trident_train.model.encoder import Encoder  # here: what is wrong with the rest is told before PyTorch is there
    from trident_train.report.run_folder import load_run

    return load_run(folder, text=contract) if is_run else Encoder.load(folder, contract)


def changed_contract(contract: TextContract, items: Sequence[str]) -> TextContract:
    """Return a text contract with ``key=value`` changes.

    Raises:
        ConfigError: If a key is unknown, or a value breaks a rule.
    """
    table = to_table(contract)
    for item in items:
        apply_override(table, item)
    return from_table(TextContract, table, where="--text")


def _fit_to_judge(pairs: Pairs, catalogue: Catalogue | None, request: Request, notes: list[str]) -> Pairs:
    """Return the pairs without what would make figures lie, among drawn products where all are relevant.

    Raises:
        DataError: If a pair is labelled both ways, or products of the pairs are not those of the catalogue.
    """
    both = {row for rows in contradictions(pairs).values() for row in rows}
    if both and request.contradictions == "drop":
        pairs = pairs.take(row for row in range(len(pairs)) if row not in both)
        notes.append(f"{len(both):,} pairs that are relevant and irrelevant were left out")
    require_consistent(str(request.pairs), pairs, request.reading.options.contradictions)
    if catalogue is not None:
        meeting = meet(itertools.compress(pairs.product_ids, pairs.labels.tolist()), catalogue)
        meeting.require(request.pairs, request.catalogue, "mend the ids, or leave out --catalogue")
        if text := meeting.text(request.pairs, request.catalogue):
            notes.append(text)
    if len(pairs) and is_relevant_only(pairs):
        pairs = with_others(pairs, products_of(pairs, catalogue), str(request.pairs))
        notes.append(
            f"all pairs are relevant: they were ranked among up to {OTHERS} other products a query, drawn at random, "
            "which count as irrelevant"
        )
    return pairs


def _of_split(pairs: Pairs, split: str, path: Path) -> Pairs:
    if pairs.splits is None:
        raise DataError(f"{path} has no split column to choose '{split}' from: map one with --column split=COLUMN")
    kept = [row for row, value in enumerate(pairs.splits) if normalized_query(value) == normalized_query(split)]
    if not kept:
        found = sorted(set(pairs.splits))
        raise DataError(f"no pair of {path} is in split '{split}'{nearest(split, found)}: found {', '.join(found)}")
    return pairs.take(kept)

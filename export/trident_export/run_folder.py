"""The run folder of a training, as far as an export needs to know it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query, pairs_of_catalogue, query_hash, read_pairs
from trident.errors import DataError, ModelError
from trident.generation.generation import TEST_PAIRS_FILE

BASE_FILE = "base.json"
RECIPE_FILE = "recipe.json"
ADAPTER_FOLDER = "adapter"
VALIDATION_PAIRS_FILE = "validation.parquet"
TRAINED_QUERIES_FILE = "trained_queries.npy"


def require_run(run: Path) -> None:
    """Refuse a folder that no training left.

    Raises:
        ModelError: If it is not there, or lacks what an export reads first.
    """
    if not run.is_dir():
        raise ModelError(f"run folder {run} does not exist: make one with trident train RECIPE --out {run}")
    for name in (BASE_FILE, TEST_PAIRS_FILE):
        if not (run / name).is_file():
            raise ModelError(f"{run} is no run folder: it has no {name}; make one with trident train")


def base_model_of(run: Path) -> str | None:
    """Return the base model that a run's adapters belong to; None where the run has whole weights of its own.

    Raises:
        ModelError: If what the run says of it cannot be read.
    """
    if not (run / ADAPTER_FOLDER).is_dir():
        return None
    try:
        return str(json.loads((run / BASE_FILE).read_text(encoding="utf-8"))["base_model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{run} is no run folder: {BASE_FILE} cannot be read ({error}); train one") from error


def require_stage(run: Path, wanted: str, what: str) -> None:
    """Refuse a run of another stage.

    Args:
        run: A run folder.
        wanted: ``encoder`` or ``reranker``.
        what: Names the run in errors.

    Raises:
        ModelError: If it is missing, or of another stage.
    """
    try:
        stage = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8")).get("stage", "encoder")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{run} is no run folder: {RECIPE_FILE} cannot be read ({error}); train one") from error
    if stage != wanted:
        raise ModelError(f"{what} must be that of stage '{wanted}', got one of stage '{stage}' ({run})")


def source_names(run: Path) -> list[str]:
    """Return the names of the sources of a run; none where it has one only.

    Raises:
        ModelError: If its recipe cannot be read.
    """
    try:
        data = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))["data"]
        return list(data.get("sources") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{run} is no run folder: {RECIPE_FILE} cannot be read ({error}); train one") from error


def held_out_pairs(run: Path, file: str, catalogue: Catalogue) -> tuple[Pairs, tuple[str, ...]] | None:
    """Return pairs that a run holds out and the names of their sources, as ``pairs_of_catalogue``; None without a file.

    Args:
        run: A run folder.
        file: ``VALIDATION_PAIRS_FILE`` or ``TEST_PAIRS_FILE``.
        catalogue: That is exported, whose ids the pairs get.

    Raises:
        TridentError: If the run cannot be read.
    """
    if not (run / file).is_file():
        return None
    return pairs_of_catalogue(read_pairs(run / file), source_names(run), catalogue)


def require_unseen(run: Path, reranker: Path, held_out: Iterable[str]) -> None:
    """Refuse a reranker that was trained on queries which this export chooses and judges by: they would flatter it.

    Args:
        run: Of the encoder.
        reranker: Of the second stage.
        held_out: Validation and test queries of ``run``.

    Raises:
        DataError: With how many there are, and one of them.
        ModelError: If what the reranker was trained on cannot be read.
    """
    path = reranker / TRAINED_QUERIES_FILE
    try:
        trained = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path} is missing or damaged: train the reranker again") from error
    names = sorted({normalized_query(query) for query in held_out})
    seen = [name for name, known in zip(names, np.isin(list(map(query_hash, names)), trained), strict=True) if known]
    if seen:
        raise DataError(
            f"the reranker must hold out the queries that it is judged by, got {len(seen):,} of {len(names):,} that "
            f"{reranker} was trained on, such as '{seen[0]}': train it on the data, shares and split_seed of {run}"
        )

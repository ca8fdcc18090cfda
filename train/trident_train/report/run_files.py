"""Names and small files of a run folder; reading them needs no PyTorch. ``run_folder`` says what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.config import from_table
from trident.errors import ModelError
from trident_train.recipe import TrainRecipe

RECIPE_FILE = "recipe.json"
BASE_FILE = "base.json"
REPORT_FILE = "report.json"
METRICS_FILE = "metrics.jsonl"
VALIDATION_PAIRS_FILE = "validation.parquet"
TEST_PAIRS_FILE = "test.parquet"
TEST_SCORES_FILE = "test_scores.parquet"
TEST_QUERIES_FILE = "test_queries.parquet"
TRAINED_QUERIES_FILE = "trained_queries.npy"
TRAINED_WORDS_FILE = "trained_words.txt"
ADAPTER_FOLDER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_FOLDER = "model"
TRACKING_FOLDER = "tracking"


def read_recipe(folder: Path) -> TrainRecipe:
    """Return the resolved recipe of a run folder.

    Raises:
        ModelError: If the folder is no run.
    """
    return from_table(TrainRecipe, read_json(folder / RECIPE_FILE), where=str(folder / RECIPE_FILE))


def read_trained_queries(folder: Path) -> NDArray[np.uint64]:
    """Return the hashes of the queries that a run was trained on.

    Raises:
        ModelError: If the folder has none, or they cannot be read.
    """
    try:
        hashes: NDArray[np.uint64] = np.load(folder / TRAINED_QUERIES_FILE)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{folder / TRAINED_QUERIES_FILE} is missing or damaged: train again") from error
    return hashes


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file of a run folder.

    Raises:
        ModelError: If it is not there, or no JSON.
    """
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.parent} is no run folder: it has no {path.name}; make one with trident train"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}): train again") from error
    return table


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file for people and programs."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
